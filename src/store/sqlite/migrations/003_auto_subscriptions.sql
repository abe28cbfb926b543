CREATE TABLE auto_subscriptions (
    -- Subscriptions that an account makes by itself since its devices ask for a contact's node (extension to XEP-0376).
    account TEXT NOT NULL,
    service TEXT NOT NULL,
    node_name TEXT NOT NULL,
    -- Empty if the service gave none.
    subid TEXT NOT NULL,
    -- none: the service has refused; it is not asked again before the row is gone.
    state TEXT NOT NULL CHECK (state IN ('none', 'pending', 'unconfigured', 'subscribed')),
    expire_at INTEGER NOT NULL,
    PRIMARY KEY (account, service, node_name)
) STRICT, WITHOUT ROWID;

CREATE INDEX auto_subscriptions_expire_at ON auto_subscriptions (expire_at);
