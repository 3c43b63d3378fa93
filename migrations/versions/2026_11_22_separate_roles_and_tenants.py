"""Give API and worker roles of their own, and each organisation its own rows."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROLES = ("marketing_api", "marketing_worker")
TENANT_TABLES = (
    "marketing_campaigns",
    "marketing_sends",
    "marketing_batches",
    "marketing_opt_outs",
    "marketing_test_mails",
)
API_GRANTS = {
    "marketing_campaigns": "SELECT, INSERT, UPDATE, DELETE",
    "marketing_sends": "SELECT, UPDATE",
    "marketing_batches": "SELECT, DELETE",
    "marketing_opt_outs": "SELECT, INSERT, UPDATE",
    "marketing_test_mails": "SELECT, INSERT",
}


def upgrade() -> None:
    for role in ROLES:
        # Roles belong to the whole cluster: another database of it may have made them already.
        op.execute(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; "
            "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        )
    for table, rights in API_GRANTS.items():
        op.execute(f"GRANT {rights} ON {table} TO marketing_api")
    for table in (*TENANT_TABLES, "marketing_staged_contacts"):
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO marketing_worker")
    for table in TENANT_TABLES:
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY own_organisation ON {table} TO marketing_api "
            "USING (org_id = current_setting('marketing.org_id', true))"
        )
        op.execute(f"CREATE POLICY every_organisation ON {table} TO marketing_worker USING (true)")

    # The two narrow ways past the policy: whose a send is, for a public link that carries nothing but its id,
    # and totals that name nobody, for /metrics.
    op.execute(
        """
        CREATE FUNCTION marketing_send_org(send_id uuid) RETURNS text
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
        AS 'SELECT org_id FROM marketing_sends WHERE id = send_id'
        """
    )
    op.execute(
        """
        CREATE FUNCTION marketing_ledger_stats(
            OUT queued bigint, OUT sending bigint, OUT deferred bigint, OUT delivered bigint, OUT failed bigint,
            OUT skipped bigint, OUT unconfirmed bigint, OUT oldest_due_seconds float, OUT opt_outs_pending bigint
        )
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
        AS $$
            SELECT coalesce(sum(queued), 0), coalesce(sum(sending), 0), coalesce(sum(deferred), 0),
                   coalesce(sum(delivered), 0), coalesce(sum(failed), 0), coalesce(sum(skipped), 0),
                   coalesce(sum(unconfirmed), 0),
                   coalesce(extract(epoch FROM now() - least(
                       min(expanded_at) FILTER (WHERE status = 'SENDING' AND queued > 0 AND paused_at IS NULL),
                       (SELECT min(due_at) FROM marketing_sends WHERE due_at < now())
                   )), 0),
                   (SELECT count(*) FROM marketing_opt_outs WHERE due_at IS NOT NULL)
            FROM marketing_campaigns
        $$
        """
    )
    for function in ("marketing_send_org(uuid)", "marketing_ledger_stats()"):
        op.execute(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {function} TO marketing_api, marketing_worker")


def downgrade() -> None:
    op.execute("DROP FUNCTION marketing_ledger_stats()")
    op.execute("DROP FUNCTION marketing_send_org(uuid)")
    for table in TENANT_TABLES:
        op.execute(f"DROP POLICY own_organisation ON {table}")
        op.execute(f"DROP POLICY every_organisation ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    for table in (*TENANT_TABLES, "marketing_staged_contacts"):
        op.execute(f"REVOKE ALL ON {table} FROM marketing_api, marketing_worker")
    # The roles stay: they belong to the cluster, and people's log-ins may be members of them.
