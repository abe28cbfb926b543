-- Times are microseconds since 1970, booleans 0 and 1; enumerations are spelled as in the XEPs.

CREATE TABLE services (
    -- What nodes belong to: a pubsub component or an account.
    service INTEGER PRIMARY KEY AUTOINCREMENT,
    jid TEXT NOT NULL UNIQUE,
    -- Whether the data of the module that was there before has been taken over.
    imported INTEGER NOT NULL CHECK (imported IN (0, 1)),
    -- How many rows of nodes belong to it, and bytes of all their payloads.
    nodes INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;

CREATE TABLE nodes (
    -- A node and its options (XEP-0060, section 16.4.4). The key is the upper half of items.seq_key.
    node INTEGER PRIMARY KEY AUTOINCREMENT CHECK (node BETWEEN 1 AND 2147483646),
    service INTEGER NOT NULL REFERENCES services ON DELETE CASCADE,
    name TEXT NOT NULL,
    creator TEXT NOT NULL,
    created INTEGER NOT NULL,
    access_model TEXT NOT NULL CHECK (access_model IN ('authorize', 'open', 'presence', 'roster', 'whitelist')),
    publish_model TEXT NOT NULL CHECK (publish_model IN ('publishers', 'subscribers', 'open')),
    persist_items INTEGER NOT NULL CHECK (persist_items IN (0, 1)),
    -- NULL in the next two: as much as the service allows.
    max_items INTEGER,
    item_expire INTEGER,
    max_payload_size INTEGER NOT NULL,
    publish_node_full TEXT NOT NULL CHECK (publish_node_full IN ('retract-oldest', 'discard-oldest', 'reject')),
    send_last_published_item TEXT NOT NULL
        CHECK (send_last_published_item IN ('never', 'on_sub', 'on_sub_and_presence')),
    deliver_notifications INTEGER NOT NULL CHECK (deliver_notifications IN (0, 1)),
    deliver_payloads INTEGER NOT NULL CHECK (deliver_payloads IN (0, 1)),
    notification_type TEXT NOT NULL CHECK (notification_type IN ('normal', 'headline')),
    notify_config INTEGER NOT NULL CHECK (notify_config IN (0, 1)),
    notify_delete INTEGER NOT NULL CHECK (notify_delete IN (0, 1)),
    notify_retract INTEGER NOT NULL CHECK (notify_retract IN (0, 1)),
    notify_sub INTEGER NOT NULL CHECK (notify_sub IN (0, 1)),
    itemreply TEXT NOT NULL CHECK (itemreply IN ('none', 'publisher')),
    presence_based_delivery INTEGER NOT NULL CHECK (presence_based_delivery IN (0, 1)),
    purge_offline INTEGER NOT NULL CHECK (purge_offline IN (0, 1)),
    tempsub INTEGER NOT NULL CHECK (tempsub IN (0, 1)),
    subscribe INTEGER NOT NULL CHECK (subscribe IN (0, 1)),
    node_type TEXT NOT NULL CHECK (node_type IN ('leaf')),
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    type TEXT NOT NULL,
    language TEXT NOT NULL,
    body_xslt TEXT NOT NULL,
    dataform_xslt TEXT NOT NULL,
    UNIQUE (service, name)
) STRICT;

CREATE TABLE node_values (
    -- Options of a node that have several values.
    node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE,
    field TEXT NOT NULL CHECK (field IN ('contact', 'roster_groups_allowed')),
    position INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (node, field, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE counters (
    -- What every publication changes about a node, apart from its long row of options.
    node INTEGER PRIMARY KEY REFERENCES nodes ON DELETE CASCADE,
    next_seq INTEGER NOT NULL,
    items INTEGER NOT NULL,
    subscribers INTEGER NOT NULL,
    -- When the oldest item expires; NULL: nothing does.
    sweep_at INTEGER
) STRICT;

CREATE INDEX counters_sweep ON counters (sweep_at) WHERE sweep_at IS NOT NULL;

CREATE TABLE redirects (
    -- Where deleted nodes have moved to (XEP-0060, section 8.4).
    service INTEGER NOT NULL REFERENCES services ON DELETE CASCADE,
    name TEXT NOT NULL,
    uri TEXT NOT NULL,
    PRIMARY KEY (service, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE items (
    -- Items in the order of publication: node * 2^32 + seq, so that those of one node are one range of the table.
    seq_key INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE,
    id TEXT NOT NULL,
    publisher TEXT NOT NULL,
    published INTEGER NOT NULL,
    -- The latest time of publication up to here, if that is not this item's: the clock was turned back.
    latest INTEGER CHECK (latest > published),
    payload TEXT NOT NULL,
    CHECK (seq_key >> 32 = node)
) STRICT;

CREATE UNIQUE INDEX items_id ON items (node, id);
CREATE INDEX items_untimely ON items (node, published) WHERE latest IS NOT NULL;

CREATE TABLE item_gaps (
    -- How many of 512 items in a row (seq_key / 512) were removed, apart from the oldest: pages tell their place with it.
    node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE,
    block INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    PRIMARY KEY (node, block)
) STRICT, WITHOUT ROWID;

CREATE TABLE affiliations (
    -- How bare JIDs stand to a node; no row means none.
    node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE,
    jid TEXT NOT NULL,
    affiliation TEXT NOT NULL
        CHECK (affiliation IN ('owner', 'publisher', 'publish-only', 'member', 'outcast')),
    PRIMARY KEY (node, jid)
) STRICT, WITHOUT ROWID;

CREATE INDEX affiliations_jid ON affiliations (jid);

CREATE TABLE subscriptions (
    -- Subscriptions of literal JIDs and their options (XEP-0060, section 16.4.2).
    subscription INTEGER PRIMARY KEY AUTOINCREMENT,
    node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE,
    -- That of the node, which never changes: here for the indexes.
    service INTEGER NOT NULL,
    jid TEXT NOT NULL,
    -- The JID without its resource.
    bare TEXT NOT NULL,
    subid TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('none', 'pending', 'unconfigured', 'subscribed')),
    -- Whether it is to be public once it is subscribed (XEP-0465).
    wants_public INTEGER NOT NULL CHECK (wants_public IN (0, 1)),
    -- Whether the account's list shows it too then: it was asked for through the account (XEP-0376).
    shown INTEGER NOT NULL DEFAULT 0 CHECK (shown IN (0, 1)),
    created INTEGER NOT NULL,
    deliver INTEGER NOT NULL CHECK (deliver IN (0, 1)),
    digest INTEGER NOT NULL CHECK (digest IN (0, 1)),
    digest_frequency INTEGER NOT NULL,
    -- Ends with the presence of the JID.
    expire_presence INTEGER NOT NULL CHECK (expire_presence IN (0, 1)),
    -- Ends at this time; NULL: it does not.
    expire_at INTEGER CHECK (expire_at IS NULL OR NOT expire_presence),
    include_body INTEGER NOT NULL CHECK (include_body IN (0, 1)),
    -- Bits for away, chat, dnd, online, xa; 0: not limited.
    show_values INTEGER NOT NULL CHECK (show_values BETWEEN 0 AND 31),
    subscription_type TEXT NOT NULL CHECK (subscription_type IN ('items', 'nodes', 'all')),
    -- Levels; 0: all.
    subscription_depth INTEGER NOT NULL,
    UNIQUE (node, jid, subid)
) STRICT;

CREATE INDEX subscriptions_node ON subscriptions (node);
CREATE INDEX subscriptions_node_bare ON subscriptions (node, bare);
CREATE INDEX subscriptions_bare ON subscriptions (bare, service);
CREATE INDEX subscriptions_pending ON subscriptions (node) WHERE state = 'pending';
CREATE INDEX subscriptions_pending_service ON subscriptions (service, node) WHERE state = 'pending';
CREATE INDEX subscriptions_expire_at ON subscriptions (expire_at) WHERE expire_at IS NOT NULL;
CREATE INDEX subscriptions_expire_presence ON subscriptions (jid) WHERE expire_presence;

CREATE TABLE subscribers (
    -- How many subscriptions a bare JID (and its full JIDs) has at a service: each new one is held against the limit.
    bare TEXT NOT NULL,
    service INTEGER NOT NULL,
    subscriptions INTEGER NOT NULL CHECK (subscriptions >= 0),
    PRIMARY KEY (bare, service)
) STRICT, WITHOUT ROWID;

-- Triggers, because subscriptions go with their node as well.
CREATE TRIGGER subscriptions_made AFTER INSERT ON subscriptions BEGIN
    INSERT INTO subscribers (bare, service, subscriptions) VALUES (new.bare, new.service, 1)
        ON CONFLICT (bare, service) DO UPDATE SET subscriptions = subscriptions + 1;
END;
CREATE TRIGGER subscriptions_ended AFTER DELETE ON subscriptions BEGIN
    UPDATE subscribers SET subscriptions = subscriptions - 1 WHERE bare = old.bare AND service = old.service;
    DELETE FROM subscribers WHERE bare = old.bare AND service = old.service AND subscriptions = 0;
END;

CREATE TABLE public_lists (
    -- What is counted about the public subscribers of a node.
    node INTEGER PRIMARY KEY REFERENCES nodes ON DELETE CASCADE,
    last_position INTEGER NOT NULL,
    entries INTEGER NOT NULL
) STRICT;

CREATE TABLE public_subscribers (
    -- Who is listed as a subscriber of a node (XEP-0465), in the order of becoming public.
    node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE,
    position INTEGER NOT NULL,
    bare TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (node, position),
    UNIQUE (node, bare)
) STRICT, WITHOUT ROWID;

CREATE TABLE public_gaps (
    -- The same for positions as item_gaps for items.
    node INTEGER NOT NULL REFERENCES nodes ON DELETE CASCADE,
    block INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    PRIMARY KEY (node, block)
) STRICT, WITHOUT ROWID;

CREATE TABLE account_lists (
    -- What is counted about the public subscriptions of an account.
    list INTEGER PRIMARY KEY,
    account TEXT NOT NULL UNIQUE,
    last_position INTEGER NOT NULL,
    entries INTEGER NOT NULL
) STRICT;

CREATE TABLE public_subscriptions (
    -- What an account lists as its subscriptions (XEP-0465), in the order of becoming public.
    list INTEGER NOT NULL REFERENCES account_lists ON DELETE CASCADE,
    position INTEGER NOT NULL,
    service TEXT NOT NULL,
    node_name TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (list, position),
    UNIQUE (list, service, node_name)
) STRICT, WITHOUT ROWID;

CREATE INDEX public_subscriptions_node ON public_subscriptions (service, node_name);

CREATE TABLE account_gaps (
    -- The same for positions in an account's list as item_gaps for items.
    list INTEGER NOT NULL REFERENCES account_lists ON DELETE CASCADE,
    block INTEGER NOT NULL,
    missing INTEGER NOT NULL,
    PRIMARY KEY (list, block)
) STRICT, WITHOUT ROWID;

CREATE TABLE pam_entries (
    -- Subscriptions that an account manages at services elsewhere (XEP-0376).
    account TEXT NOT NULL,
    service TEXT NOT NULL,
    node_name TEXT NOT NULL,
    -- Empty if the service gave none.
    subid TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('none', 'pending', 'unconfigured', 'subscribed')),
    wants_public INTEGER NOT NULL CHECK (wants_public IN (0, 1)),
    unsubscribing INTEGER NOT NULL CHECK (unsubscribing IN (0, 1)),
    PRIMARY KEY (account, service, node_name, subid)
) STRICT, WITHOUT ROWID;

CREATE TABLE pam_versions (
    -- How often the list of an account was changed.
    account TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE intents (
    -- Requests sent as an account whose answers are awaited (XEP-0376). Empty text: there is none.
    intent INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    service TEXT NOT NULL,
    node_name TEXT NOT NULL,
    subid TEXT NOT NULL,
    -- The engine's own code.
    operation INTEGER NOT NULL CHECK (operation BETWEEN 0 AND 255),
    requester TEXT NOT NULL,
    request_id TEXT NOT NULL,
    request_to TEXT NOT NULL,
    stanza TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    deadline INTEGER NOT NULL
) STRICT;

CREATE INDEX intents_account ON intents (account, id);
CREATE INDEX intents_deadline ON intents (deadline, id);

CREATE TABLE capabilities (
    -- Verified hashes of capabilities (XEP-0115, XEP-0390), as "algorithm:hash".
    capability INTEGER PRIMARY KEY,
    hash TEXT NOT NULL UNIQUE,
    learnt INTEGER NOT NULL
) STRICT;

CREATE INDEX capabilities_learnt ON capabilities (learnt);

CREATE TABLE capability_features (
    -- What clients of that hash want.
    capability INTEGER NOT NULL REFERENCES capabilities ON DELETE CASCADE,
    position INTEGER NOT NULL,
    feature TEXT NOT NULL,
    PRIMARY KEY (capability, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE engine_values (
    -- The engine's own values.
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
