"""The long text patterns of the reply table, one alternative in each line.

A pattern is searched for in the words of a reply, in lower case. Every repetition has an upper limit, so that a search
takes linear time.
"""


def _any_of(*alternatives: str) -> str:
    return "|".join(alternatives)


_AMOUNT = r"(messages?|e?-?mails?|recipients?|transactions?|too many|maximum|limit|exceeded)"
_MAILBOX = r"(user|recipient|address(ee)?|mail ?box|account|alias)"
_NAME = r"(user|recipient|address(ee)?|mail ?box|account|alias|rcpt|person)"
_MISSING = _any_of(
    r"(unknown|not (found|known)|invalid|unallocated|inactive|discontinued|not recogni[sz]ed|not listed)",
    r"(disabled|deleted|removed|closed|deactivated|terminated|cancelled)",
    r"(does not|does ?n.t) exist|marked as invalid|(can|could) ?(not|n?.t) be found",
    r"no longer (valid|on server|exists|in use|active|available|with|accept)",
)

QUOTA = _any_of(
    r"(daily|monthly|weekly|hourly|24.hours?)\b.{0,80}\b(quota|limit|allowance|maximum)",
    r"\b(quota|limit)\b.{0,60}\b(per|for the|for this|for|this) ?(day|month|today|24)",
    r"(sending|submission|message|account|sender) ?(quota|allowance) ?(is |was )?(exceeded|reached|used)",
    r"credits? (limit )?(is |are |was )?(exceeded|exhausted)",
    r"(insufficient|out of|no more|not enough) credits?",
    r"emails? per (hour|day)",
    r"allowed to send: recipient limit",
    r"(message|sending|account) limit (exceeded|reached)",
    r"maximum number of (e?mails|messages|recipients).{0,40}\b(day|month|today|24)",
)
"""Our quota at the relay, by day, by month or in credits."""
LOGIN_NEEDED = _any_of(
    r"client (was )?not authenticated",
    r"must (first )?authenticate",
    r"authentication (is )?required",
    r"authentication (has )?fail",
    r"authentification requise",
    r"incorrect authentication",
    r"advertise auth",
)
"""The relay requires a log-in, or refused it."""
PER_CONNECTION = _any_of(
    r"\b(per|in (this|a|one)|for this|this|each|on this) (smtp )?(session|connection)\b",
    r"reconnect",
    r"session limit",
    _AMOUNT + r"\b.{0,60}\b(in|for|on|over|per|one|a|the|your|single|same) (session|connection)\b",
)
"""A limit for one connection."""
TOO_MUCH_FROM_US = _any_of(
    r"throttl",
    r"(sending|submission|message|mail|client|connection|smtp|delivery|recipient|send) rate\b",
    r"rate ?limit",
    r"too (much|many) (e?-?mails?|messages?|recipients|connects?|requests) from",
    r"too frequent connect",
    r"too many (\w{1,20} ){0,3}(connections?|sessions?|clients|threads)",
    r"concurren",
    r"simultaneous",
    r"thread limit",
    r"slow(er)? down",
    r"slower",
    r"too (fast|quickly)",
    r"connections? limit",
    r"too many messages(?! containing)",
    r"(messages|recipients) per (second|minute|hour)",
    r"relay limit exceeded",
    r"received this hour",
)
"""The relay gets too many connections, messages or recipients from us."""
NO_RESOURCES = _any_of(
    r"insufficient (system )?(storage|disk|space|resource)",
    r"disk (is )?full",
    r"space shortage",
    r"no space",
    r"out of memory",
    r"not enough (disk |system )?(space|memory)",
    r"queue file",
    r"load (average )?is too",
    r"too much load",
    r"overload",
)
"""The relay has no disk, memory or processor time left."""
MESSAGE_TOO_LARGE = _any_of(
    r"(message|e?-?mail)( file| body| header)? (size )?(is |was )?(exceeds|exceeded|too (big|large|long))",
    r"maximum (e?-?mail|message) size",
    r"\b(message|e?-?mail) size limit",
    r"databytes limit",
    r"taille limite",
    r"size (of (the|your) message )?exceeds",
    r"exceeds .{0,20}\bsize",
)
"""The message is larger than the system accepts."""
MAY_NOT_RELAY = _any_of(
    r"relay access denied",
    r"relay(ing)? (is )?(temporarily )?(denied|disallowed|prohibited|not (allowed|permitted))",
    r"unable to relay",
    r"not permitted to relay",
    r"invalid credentials for relay",
    r"as a relay\b",
    r"rcpthosts",
    r"cannot deliver mail for",
)
"""We may not send to other domains through this relay."""
SENDER_REFUSED = _any_of(
    r"sender (address |domain )?(is )?(was )?(rejected|denied|refused|blocked|unknown|not (allowed|valid|verified))",
    r"(invalid|bad|unknown|unverified|unauthori[sz]ed) sender",
    r"sender (verify|verification|address verification) failed",
    r"(domain of|for) sender address",
    r"sender address must",
    r"envelope sender",
    r"sender[^.]{0,40}(does ?n.t|does not) (exist|resolve)",
    r"for your from address",
    r"that sender cannot",
    r"client host rejected",
    r"emetteur invalide",
)
"""The envelope sender or our host is refused."""
IDENTITY_REFUSED = _any_of(
    r"email address is not verified",
    r"sending paused for this account",
    r"is not authorized to perform",
    r"does not match a verified sender",
    r"unauthenticated senders not allowed",
    r"not (allowed|authori[sz]ed|permitted) to send",
    r"send on behalf of",
    r"domain (is )?(not verified|unverified)",
    r"sender envelope domain not allowed",
    r"sendasdenied",
    r"your account (is|has been) (suspended|disabled|locked)",
)
"""The account may not send, or not as this sender."""
MAILBOX_TOO_BUSY = _any_of(
    r"(recipient|user|mailbox|account).{0,60}\breceiv(e|ing)\b.{0,40}\b(too|rate|quickly|many)\b",
    r"(recipient|mailbox) (has )?exceeded",
    r"recipient thread limit",
)
"""The mailbox gets messages too fast."""
MAILBOX_FULL = _any_of(
    r"over ?((its|his|her|their|the|disk) )?quota",
    r"quota (is |limit )?(exceeded|full|violation)",
    r"exceeded .{0,30}quota",
    r"(mail ?box|inbox|account|mail ?folder)( is)?( too)? full",
    r"mailbox size limit",
    r"mailbox for user is full",
    r"out of storage",
    r"exceeded storage",
    r"storage limit",
    r"(not enough|insufficient|no) (storage )?space (left )?(in|on|for) (the |this )?(recipient|mail ?box|user)",
    r"mailbox (is too small|exceeds)",
    r"(postfach|mailbox) (ist |is )?(voll\b|vol\b|.berf.{1,2}llt)",
    r"(boite|bo.te).{0,30}pleine",
    r"buz.{1,2}n (est.{1,2} )?lleno|caixa (postal|de \w{1,10}) (est.{1,2} )?cheia|casella.{0,20} piena",
)
"""The mailbox is full."""
NO_SUCH_ADDRESS = _any_of(
    _MAILBOX + rf"( is|:| email address| name| has been| was)?( currently)? ?({_MISSING})",
    r"(unknown|invalid|inactive|illegal|non-?existent|no such|bad destination)[ -]((or illegal|email|local) )?" + _NAME,
    r"bad recipient",
    r"\b(no|not an?) ((known|local|valid) )?" + _NAME + r" ((is |was )?found|here|(by|with|of) (this|that) name)",
    r"\b(no|not a) (known|local) " + _NAME,
    r"nobody (here|by)",
    _MAILBOX + r"[^.]{0,60} (does not|does ?n.t|did not) exist",
    r"account[^.]{0,40} (is|has been) (disabled|inactive|discontinued)",
    r"does ?n.t have an? \S{1,255} account|does not have an? (\S{1,255} )?account",
    r"is no longer valid",
    r"no mailbox (here|by)",
    r"unroute?able address|undeliverable address",
    r"not our customer",
    r"not in recipient list",
    r"not listed in (domino|the|public)",
    r"recip(ient)?notfound",
    r"recipient (name )?(is )?not (recogni[sz]ed|found)",
    r"not a valid (e-?mail |rfc.?5321 )?(address|mailbox|user)",
    r"user not local",
    r"mailbox name",
    r"(mailbox|account) is (disabled|inactive)",
    r"(user|person|employee|recipient) (has )?left (the|our|this)",
    # German, French, Spanish, Portuguese, Italian, Dutch
    r"(benutzer|empf.{1,2}nger|adressat|postfach|konto)(adresse)? (ist )?(unbekannt|existiert nicht|nicht gefunden)",
    r"unbekannter (benutzer|empf.{1,2}nger)",
    r"(utilisateur|destinataire|adresse|compte)( est)? (inconnue?|inexistante?|introuvable|invalide)",
    r"bo.{1,2}te aux lettres (inexistante|introuvable|d.{1,2}sactiv)",
    r"(usu.{1,2}rio|destinat.{1,2}rio|buz.{1,2}n) (desconoc|desconhec|inexistente|no existe|n.{1,2}o existe)",
    r"(utente|destinatario|casella) (sconosciut|inesistente|non esist)",
    r"(gebruiker|ontvanger|adres) (is )?onbekend",
)
"""The address does not exist."""
MAIL_TO_DOMAIN_IMPOSSIBLE = _any_of(
    r"name not found",
    r"host not found",
    r"host unknown",
    r"domain not found",
    r"(domain|host|name|system)\b.{0,80} (does not|does ?n.t) exist",
    r"not accept mail",
    r"nullmx",
    r"null mx",
)
"""The domain does not exist or accepts no mail."""
RECEIVERS_LIMIT = _any_of(
    r"unusual rate",
    r"reputation",
    r"complaints",
    r"unexpected volume",
    r"excessive volume",
    r"unsolicited",
    r"from your ip",
    r"your ip (address|netblock)",
    r"temporarily deferred",
    r"rate limited (because|due)",
    r"(server|agent) busy",
    r"temporary domain failure",
    r"organization queue",
)
"""A receiving system limits the relay's address."""
UNWANTED = _any_of(
    r"\bspam\b",
    r"junk",
    r"unsolicited",
    r"\bbulk\b",
    r"block",
    r"black ?list",
    r"spamhaus",
    r"barracuda",
    r"\b(rbl|dnsbl|[sxpd]bl)s?\b",
    r"reputation",
    r"polic(y|ies)",
    r"prohibit",
    r"forbidden",
    r"denied",
    r"not (allowed|authorized|permitted|welcome|accept)",
    r"unauthori[sz]ed",
    r"suspicio",
    r"phish",
    r"virus",
    r"malware",
    r"spoof",
    r"impersonat",
    r"content",
    r"banned",
    r"reverse dns",
    r"\bptr\b",
    r"rdns",
    r"complain",
    r"network",
    r"\blisted\b",
    r"filter",
    r"security",
    r"quarantin",
    r"authenticat",
    r"rfc.?5322",
    r"rfc compliant",
    r"\bhelo\b",
    r"\bip\b",
    r"rejet",
    r"indesirable",
    r"veuillez essayer",
)
"""The message, its origin or our set-up is not wanted."""
TEMPORARY = _any_of(
    r"try (again )?later",
    r"temporar",
    r"busy",
    r"unavailable",
    r"local (problem|error)",
    r"deferred",
)
"""A temporary problem that the text does not specify."""
TEMPORARY_OR_UNWANTED = _any_of(TEMPORARY, UNWANTED, r"unable to process")
