-- The tables of revision 0001, with their constraints and indexes. This file is frozen: later changes are migrations.

CREATE TABLE marketing_campaigns (
    id UUID DEFAULT uuidv7() NOT NULL,
    org_id TEXT NOT NULL,
    name TEXT NOT NULL,
    from_name TEXT,
    from_email TEXT NOT NULL,
    reply_to TEXT,
    subject TEXT NOT NULL,
    html_body TEXT,
    text_body TEXT,
    audience_type TEXT DEFAULT 'ALL' NOT NULL,
    audience_statuses TEXT[] DEFAULT '{}' NOT NULL,
    track_clicks BOOLEAN DEFAULT false NOT NULL,
    status TEXT DEFAULT 'DRAFT' NOT NULL,
    failure_code TEXT,
    failure_message TEXT,
    scheduled_at TIMESTAMP WITH TIME ZONE,
    launched_at TIMESTAMP WITH TIME ZONE,
    expanded_at TIMESTAMP WITH TIME ZONE,
    sent_at TIMESTAMP WITH TIME ZONE,
    paused_at TIMESTAMP WITH TIME ZONE,
    pause_reason TEXT,
    cancelled_at TIMESTAMP WITH TIME ZONE,
    created_by TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    version INTEGER DEFAULT 1 NOT NULL,
    expansion_epoch INTEGER DEFAULT 0 NOT NULL,
    expansion_lease_until TIMESTAMP WITH TIME ZONE,
    expansion_due_at TIMESTAMP WITH TIME ZONE,
    expansion_fetched INTEGER DEFAULT 0 NOT NULL,
    audience_read_at TIMESTAMP WITH TIME ZONE,
    next_batch INTEGER DEFAULT 0 NOT NULL,
    recipients INTEGER DEFAULT 0 NOT NULL,
    queued INTEGER DEFAULT 0 NOT NULL,
    sending INTEGER DEFAULT 0 NOT NULL,
    deferred INTEGER DEFAULT 0 NOT NULL,
    delivered INTEGER DEFAULT 0 NOT NULL,
    failed INTEGER DEFAULT 0 NOT NULL,
    skipped INTEGER DEFAULT 0 NOT NULL,
    unconfirmed INTEGER DEFAULT 0 NOT NULL,
    opens INTEGER DEFAULT 0 NOT NULL,
    opens_delivered INTEGER DEFAULT 0 NOT NULL,
    machine_opens INTEGER DEFAULT 0 NOT NULL,
    machine_opens_delivered INTEGER DEFAULT 0 NOT NULL,
    clicks INTEGER DEFAULT 0 NOT NULL,
    unsubscribes INTEGER DEFAULT 0 NOT NULL,
    hard_bounces INTEGER DEFAULT 0 NOT NULL,
    soft_bounces INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_marketing_campaigns PRIMARY KEY (id),
    CONSTRAINT ck_marketing_campaigns_status CHECK (status IN ('DRAFT', 'SENDING', 'SENT', 'FAILED')),
    CONSTRAINT ck_marketing_campaigns_audience_type CHECK (audience_type IN ('ALL', 'BY_STATUS')),
    CONSTRAINT ck_marketing_campaigns_audience_statuses
        CHECK ((audience_type = 'BY_STATUS') = (cardinality(audience_statuses) > 0)),
    CONSTRAINT ck_marketing_campaigns_ledger_adds_up
        CHECK (recipients = queued + sending + deferred + delivered + failed + skipped + unconfirmed),
    CONSTRAINT ck_marketing_campaigns_no_negative_counter
        CHECK (least(queued, sending, deferred, delivered, failed, skipped, unconfirmed, opens, opens_delivered) >= 0),
    CONSTRAINT ck_marketing_campaigns_opens CHECK (opens <= recipients AND opens_delivered <= delivered),
    CONSTRAINT ck_marketing_campaigns_engagement
        CHECK (least(machine_opens, machine_opens_delivered, clicks, unsubscribes, hard_bounces, soft_bounces) >= 0
            AND machine_opens <= opens
            AND machine_opens_delivered <= opens_delivered
            AND greatest(clicks, unsubscribes) <= recipients
            AND hard_bounces + soft_bounces <= failed),
    CONSTRAINT ck_marketing_campaigns_no_recipients_before_launch
        CHECK (status NOT IN ('DRAFT', 'FAILED') OR recipients = 0),
    CONSTRAINT ck_marketing_campaigns_no_recipients_before_expansion CHECK (recipients = 0 OR expanded_at IS NOT NULL),
    CONSTRAINT ck_marketing_campaigns_sent_when_all_sends_are_settled
        CHECK (expanded_at IS NULL OR (status = 'SENT') = (queued + deferred + sending = 0)),
    CONSTRAINT ck_marketing_campaigns_failure CHECK ((status = 'FAILED') = (failure_code IS NOT NULL)),
    CONSTRAINT ck_marketing_campaigns_pause_reason CHECK ((paused_at IS NULL) = (pause_reason IS NULL))
);

CREATE INDEX ix_marketing_campaigns_newest ON marketing_campaigns (org_id, created_at DESC, id DESC);

CREATE INDEX ix_marketing_campaigns_sending ON marketing_campaigns (org_id) WHERE status = 'SENDING';

CREATE TABLE marketing_sends (
    id UUID DEFAULT uuidv7() NOT NULL,
    org_id TEXT NOT NULL,
    campaign_id UUID NOT NULL,
    contact_id TEXT COLLATE "C" NOT NULL,
    email TEXT NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    first_name TEXT,
    last_name TEXT,
    company_name TEXT,
    status TEXT NOT NULL,
    reason TEXT,
    batch INTEGER,
    due_at TIMESTAMP WITH TIME ZONE,
    attempts SMALLINT DEFAULT 0 NOT NULL,
    tries SMALLINT DEFAULT 0 NOT NULL,
    smtp_code SMALLINT,
    enhanced_code TEXT,
    error_message TEXT,
    queued_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    marked_at TIMESTAMP WITH TIME ZONE,
    sent_at TIMESTAMP WITH TIME ZONE,
    unconfirmed_at TIMESTAMP WITH TIME ZONE,
    consent_read_at TIMESTAMP WITH TIME ZONE,
    opened_at TIMESTAMP WITH TIME ZONE,
    last_opened_at TIMESTAMP WITH TIME ZONE,
    open_count INTEGER DEFAULT 0 NOT NULL,
    machine_reason TEXT,
    clicked_at TIMESTAMP WITH TIME ZONE,
    unsubscribed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_marketing_sends PRIMARY KEY (id),
    CONSTRAINT ck_marketing_sends_status
        CHECK (status IN ('QUEUED', 'SENDING', 'DEFERRED', 'DELIVERED', 'FAILED', 'SKIPPED', 'UNCONFIRMED')),
    CONSTRAINT ck_marketing_sends_due_at CHECK (due_at IS NULL OR (batch IS NULL AND status IN ('QUEUED', 'DEFERRED'))),
    CONSTRAINT ck_marketing_sends_open_count CHECK ((open_count = 0) = (opened_at IS NULL)),
    CONSTRAINT ck_marketing_sends_machine_reason CHECK (machine_reason IS NULL OR opened_at IS NOT NULL),
    CONSTRAINT uq_marketing_sends_campaign_id_contact_id UNIQUE (campaign_id, contact_id)
)
 WITH (fillfactor = 50);

CREATE INDEX ix_marketing_sends_batch ON marketing_sends (campaign_id, batch) WHERE batch IS NOT NULL;

CREATE INDEX ix_marketing_sends_due ON marketing_sends (due_at) WHERE due_at IS NOT NULL;

CREATE INDEX ix_marketing_sends_log ON marketing_sends (campaign_id, address, id);

CREATE TABLE marketing_batches (
    org_id TEXT NOT NULL,
    campaign_id UUID NOT NULL,
    number INTEGER NOT NULL,
    epoch INTEGER DEFAULT 0 NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    enqueued_at TIMESTAMP WITH TIME ZONE,
    enqueue_count INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_marketing_batches PRIMARY KEY (campaign_id, number)
);

CREATE INDEX ix_marketing_batches_leased ON marketing_batches (lease_until) WHERE lease_until IS NOT NULL;

CREATE INDEX ix_marketing_batches_waiting ON marketing_batches (campaign_id)
        WHERE enqueued_at IS NOT NULL AND lease_until IS NULL;

CREATE UNLOGGED TABLE marketing_staged_contacts (
    org_id TEXT NOT NULL,
    campaign_id UUID NOT NULL,
    epoch INTEGER NOT NULL,
    page INTEGER NOT NULL,
    contact_id TEXT COLLATE "C" NOT NULL,
    email TEXT NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    deliverable BOOLEAN NOT NULL,
    first_name TEXT,
    last_name TEXT,
    company_name TEXT
);

CREATE INDEX ix_marketing_staged_contacts_attempt ON marketing_staged_contacts (campaign_id, epoch);

CREATE TABLE marketing_opt_outs (
    org_id TEXT NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    contact_ids TEXT[] NOT NULL,
    opted_out_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    confirmed_at TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE,
    tries INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_marketing_opt_outs PRIMARY KEY (org_id, address),
    CONSTRAINT ck_marketing_opt_outs_due_until_confirmed CHECK ((confirmed_at IS NULL) = (due_at IS NOT NULL))
);

CREATE INDEX ix_marketing_opt_outs_due ON marketing_opt_outs (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE marketing_suppressions (
    id UUID DEFAULT uuidv7() NOT NULL,
    org_id TEXT NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    reason TEXT NOT NULL,
    origin TEXT NOT NULL,
    campaign_id UUID,
    note TEXT,
    created_by TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_marketing_suppressions PRIMARY KEY (id),
    CONSTRAINT ck_marketing_suppressions_reason CHECK (reason IN ('HARD_BOUNCE', 'SOFT_BOUNCES', 'MANUAL')),
    CONSTRAINT ck_marketing_suppressions_origin CHECK (origin IN ('REPORT', 'API', 'CSV')),
    CONSTRAINT uq_marketing_suppressions_org_id_address UNIQUE (org_id, address)
);

CREATE INDEX ix_marketing_suppressions_newest ON marketing_suppressions (org_id, id DESC);

CREATE TABLE marketing_soft_bounces (
    org_id TEXT NOT NULL,
    address TEXT COLLATE "C" NOT NULL,
    in_a_row INTEGER NOT NULL,
    last_send_id UUID NOT NULL,
    last_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_marketing_soft_bounces PRIMARY KEY (org_id, address)
);

CREATE TABLE marketing_links (
    org_id TEXT NOT NULL,
    campaign_id UUID NOT NULL,
    number INTEGER NOT NULL,
    url TEXT NOT NULL,
    clicks INTEGER DEFAULT 0 NOT NULL,
    total_clicks INTEGER DEFAULT 0 NOT NULL,
    machine_clicks INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_marketing_links PRIMARY KEY (campaign_id, number)
);

CREATE TABLE marketing_clicks (
    org_id TEXT NOT NULL,
    send_id UUID NOT NULL,
    number INTEGER NOT NULL,
    first_clicked_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    clicks INTEGER DEFAULT 1 NOT NULL,
    CONSTRAINT pk_marketing_clicks PRIMARY KEY (send_id, number)
);

CREATE TABLE marketing_timeline (
    org_id TEXT NOT NULL,
    campaign_id UUID NOT NULL,
    minute TIMESTAMP WITH TIME ZONE NOT NULL,
    delivered INTEGER DEFAULT 0 NOT NULL,
    opens INTEGER DEFAULT 0 NOT NULL,
    clicks INTEGER DEFAULT 0 NOT NULL,
    unsubscribes INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_marketing_timeline PRIMARY KEY (campaign_id, minute)
)
 WITH (fillfactor = 50);

CREATE TABLE marketing_test_mails (
    id UUID DEFAULT uuidv7() NOT NULL,
    org_id TEXT NOT NULL,
    campaign_id UUID NOT NULL,
    recipients TEXT[] NOT NULL,
    created_by TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_marketing_test_mails PRIMARY KEY (id),
    CONSTRAINT fk_marketing_test_mails_campaign_id_marketing_campaigns
        FOREIGN KEY(campaign_id) REFERENCES marketing_campaigns (id) ON DELETE CASCADE
);

CREATE INDEX ix_marketing_test_mails_campaign_id ON marketing_test_mails (campaign_id);

CREATE INDEX ix_marketing_test_mails_due ON marketing_test_mails (created_at) WHERE started_at IS NULL;

CREATE TABLE marketing_idempotency_keys (
    org_id TEXT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    route TEXT NOT NULL,
    body_hash BYTEA NOT NULL,
    status SMALLINT NOT NULL,
    headers JSONB NOT NULL,
    body BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_marketing_idempotency_keys PRIMARY KEY (org_id, key)
);

CREATE INDEX ix_marketing_idempotency_keys_created_at ON marketing_idempotency_keys (created_at);

CREATE TABLE marketing_preflights (
    campaign_id UUID NOT NULL,
    org_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    status TEXT DEFAULT 'RUNNING' NOT NULL,
    requested_by TEXT NOT NULL,
    requested_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    epoch INTEGER DEFAULT 0 NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    due_at TIMESTAMP WITH TIME ZONE,
    fetched INTEGER DEFAULT 0 NOT NULL,
    expected INTEGER,
    failure TEXT,
    report JSONB,
    errors INTEGER DEFAULT 0 NOT NULL,
    CONSTRAINT pk_marketing_preflights PRIMARY KEY (campaign_id),
    CONSTRAINT ck_marketing_preflights_status CHECK (status IN ('RUNNING', 'DONE', 'FAILED')),
    CONSTRAINT ck_marketing_preflights_finished CHECK ((status = 'RUNNING') = (finished_at IS NULL)),
    CONSTRAINT ck_marketing_preflights_due_while_running CHECK ((status = 'RUNNING') = (due_at IS NOT NULL)),
    CONSTRAINT ck_marketing_preflights_report CHECK ((status = 'DONE') = (report IS NOT NULL)),
    CONSTRAINT ck_marketing_preflights_failure CHECK ((status = 'FAILED') = (failure IS NOT NULL)),
    CONSTRAINT fk_marketing_preflights_campaign_id_marketing_campaigns
        FOREIGN KEY(campaign_id) REFERENCES marketing_campaigns (id) ON DELETE CASCADE
);

CREATE INDEX ix_marketing_preflights_due ON marketing_preflights (due_at) WHERE due_at IS NOT NULL;
