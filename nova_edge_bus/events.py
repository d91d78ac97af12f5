# SPDX-License-Identifier: Apache-2.0
"""The wording of the log lines that operators search for: ``EVENT key=value …: what it means``.

Names and keys are a contract, ``doc/source/operating.rst`` lists them; what follows the colon is
not. Values have no blanks but where the operator has put some.
"""

ENDPOINT_LISTENING = "endpoint-listening address=%s: peers may dial it"
SESSION_UP = "session-up host=%s service=%s peer=%s outbox=%s epoch=%s: a peer is linked"
SESSION_CLOSED = "session-closed host=%s service=%s peer=%s outbox=%s epoch=%s: %s"
NOT_ADMITTED = "not-admitted address=%s: refused %s at %s: %s"
SLOW_READER = (
    "slow-reader host=%s service=%s peer=%s: too much waits for it, and what comes for it is "
    "refused or left out until it reads"
)
KEY_WITHDRAWN = "key-withdrawn key=%s address=%s: its session is ended: %s"

LINK_UP = "link-up endpoint=%s: linked to endpoint"
LINK_DOWN = "link-down endpoint=%s: %s"
LINK_REFUSED = "link-refused endpoint=%s: cannot link: %s"
CUT_OFF = "cut-off destination=%s: it is cut off: what can be answered here is"
CATCHING_UP = "catching-up destination=%s: it can be reached again and catches up"
LINKED = "linked destination=%s: it has caught up"

DEAD_LETTER = (
    "dead-letter outbox=%s seq=%s group=%s: it was answered here and refused at the centre: %s"
)
CONFLICT = "conflict outbox=%s seq=%s: its caller was told of success, and it is refused: %s"
FENCED = (
    "fenced outbox=%s epoch=%s journal=%s: it is fenced, the journal has been opened elsewhere "
    "since; nothing more is shipped from it"
)
JOURNAL_ADOPTED = "journal-adopted journal=%s outbox=%s: what its process has left is shipped"
JOURNAL_DRAINED = "journal-drained journal=%s: nothing is left in it, and it is given back"
COMMANDS_CUT_SHORT = (
    "commands-cut-short journal=%s count=%s: they were being handled when a process ended; "
    "whether they took effect is not known, and they are not dispatched again"
)
JOURNAL_CORRUPT = "journal-corrupt journal=%s: it was moved away, and a new one begun: %s"
CENTRE_LOST = (
    "centre-lost destination=%s seq=%s: it has lost entries that it had applied, from this one on "
    "at the latest; they are looked for and brought forward"
)
BROUGHT_FORWARD = "brought-forward destination=%s entries=%s: brought forward by %s new ones"

METRICS_SERVED = "metrics-served address=%s: for all processes of this host"
METRICS_ELSEWHERE = "metrics-elsewhere address=%s: not served by this process for now: %s"
