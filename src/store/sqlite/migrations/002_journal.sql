CREATE TABLE journal (
    -- Events that came for accounts, kept for devices that were away (extension to XEP-0376), in the order of arrival.
    entry INTEGER PRIMARY KEY AUTOINCREMENT,
    account TEXT NOT NULL,
    service TEXT NOT NULL,
    node_name TEXT NOT NULL,
    arrived INTEGER NOT NULL,
    expire_at INTEGER NOT NULL,
    -- Whether a device was there to see it.
    seen INTEGER NOT NULL CHECK (seen IN (0, 1)),
    -- What the message held, as XML.
    content TEXT NOT NULL
) STRICT;

-- Every index ends with the rowid, here the entry.
CREATE INDEX journal_account ON journal (account);
CREATE INDEX journal_node ON journal (account, service, node_name);
CREATE INDEX journal_expire_at ON journal (expire_at);

CREATE TABLE journal_totals (
    -- What the entries of an account come to, so that a new one costs the same however many there are.
    account TEXT NOT NULL PRIMARY KEY,
    entries INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
