//! Every SQL text of the store. Values are always bound, never part of a text.
//!
//! `CROSS JOIN` is SQLite's way to fix the order of a join; [`ALL`] lets a test look at the plan of each.

macro_rules! node_columns {
    () => {
        "access_model, publish_model, persist_items, max_items, item_expire, max_payload_size, publish_node_full, \
         send_last_published_item, deliver_notifications, deliver_payloads, notification_type, notify_config, \
         notify_delete, notify_retract, notify_sub, itemreply, presence_based_delivery, purge_offline, tempsub, \
         subscribe, node_type, title, description, type, language, body_xslt, dataform_xslt"
    };
}

/// What [`super::rows::node`] reads; the last column tells whether [`SELECT_NODE_VALUES`] finds anything.
macro_rules! node_row {
    () => {
        concat!(
            "SELECT nodes.node, service, name, creator, created, next_seq, items, subscribers, sweep_at, ",
            node_columns!(),
            ", EXISTS (SELECT 1 FROM node_values WHERE node_values.node = nodes.node) "
        )
    };
}

macro_rules! item_row {
    () => {
        "SELECT seq_key, id, publisher, published, payload FROM items "
    };
}

/// What a deletion has to know of each item.
macro_rules! victim_row {
    () => {
        "SELECT seq_key, id, octet_length(payload) FROM items "
    };
}

macro_rules! subscription_columns {
    () => {
        "s.subscription, s.node, s.jid, s.subid, s.state, s.wants_public, s.shown, s.created, s.deliver, s.digest, \
         s.digest_frequency, s.expire_presence, s.expire_at, s.include_body, s.show_values, s.subscription_type, \
         s.subscription_depth, s.roomnick"
    };
}

macro_rules! subscription_row {
    () => {
        concat!("SELECT ", subscription_columns!(), " FROM subscriptions AS s ")
    };
}

macro_rules! placed_row {
    () => {
        concat!(
            "SELECT ",
            subscription_columns!(),
            ", services.jid, nodes.name FROM subscriptions AS s \
             CROSS JOIN nodes ON nodes.node = s.node CROSS JOIN services ON services.service = nodes.service "
        )
    };
}

/// What [`super::ranks::Ordered`] needs of a table of gaps.
macro_rules! gaps {
    (add $table:literal $owner:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " (",
            $owner,
            ", block, missing) VALUES (?1, ?2, 1) ON CONFLICT (",
            $owner,
            ", block) DO UPDATE SET missing = missing + 1"
        )
    };
    (forget $table:literal $owner:literal) => {
        concat!("DELETE FROM ", $table, " WHERE ", $owner, " = ?1 AND block < ?2")
    };
    (sum $table:literal $owner:literal) => {
        concat!(
            "SELECT coalesce(sum(missing), 0) FROM ",
            $table,
            " WHERE ",
            $owner,
            " = ?1 AND block BETWEEN ?2 AND ?3"
        )
    };
    (list $table:literal $owner:literal) => {
        concat!("SELECT block, missing FROM ", $table, " WHERE ", $owner, " = ?1 AND block >= ?2 ORDER BY block")
    };
}

macro_rules! intent_row {
    () => {
        "SELECT id, account, service, node_name, subid, operation, requester, request_id, request_to, stanza, \
         attempts, deadline FROM intents "
    };
}

macro_rules! pam_row {
    () => {
        "SELECT service, node_name, subid, state, wants_public, unsubscribing FROM pam_entries "
    };
}

macro_rules! auto_row {
    () => {
        "SELECT account, service, node_name, subid, state, expire_at FROM auto_subscriptions "
    };
}

macro_rules! journal_row {
    () => {
        "SELECT entry, service, node_name, arrived, seen, content FROM journal "
    };
}

/// The part of an account's journal that is asked for; what was not given is NULL.
macro_rules! journal_part {
    () => {
        "WHERE account = ?1 AND (?2 IS NULL OR service = ?2) AND (?3 IS NULL OR node_name = ?3) \
         AND arrived BETWEEN ?4 AND ?5 AND expire_at > ?6 "
    };
}

macro_rules! statements {
    ($($name:ident = $text:expr;)+) => {
        $(pub(super) const $name: &str = $text;)+

        /// All of them, with their names.
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $name),)+];
    };
}

statements! {
    BEGIN = "BEGIN IMMEDIATE";
    BEGIN_READING = "BEGIN";
    // Another number whenever somebody else has committed.
    DATA_VERSION = "PRAGMA data_version";
    COMMIT = "COMMIT";
    ROLLBACK = "ROLLBACK";

    // Services.
    SELECT_SERVICE = "SELECT service, jid, imported, nodes, bytes FROM services WHERE jid = ?1";
    SELECT_SERVICE_JID = "SELECT jid FROM services WHERE service = ?1";
    SELECT_SERVICES_BETWEEN = "SELECT service, jid, imported, nodes, bytes FROM services \
        WHERE jid >= ?1 AND jid < ?2 ORDER BY jid LIMIT ?3";
    INSERT_SERVICE = "INSERT INTO services (jid, imported, nodes, bytes) VALUES (?1, 0, 0, 0)";
    UPDATE_SERVICE = "UPDATE services SET imported = ?2, nodes = ?3, bytes = ?4 WHERE service = ?1";
    DELETE_SERVICE = "DELETE FROM services WHERE service = ?1";

    // Nodes.
    SELECT_NODE = concat!(node_row!(), "FROM nodes CROSS JOIN counters ON counters.node = nodes.node ",
        "WHERE service = ?1 AND name = ?2");
    SELECT_NODE_BY_KEY = concat!(node_row!(), "FROM nodes CROSS JOIN counters ON counters.node = nodes.node ",
        "WHERE nodes.node = ?1");
    SELECT_NODES = concat!(node_row!(), "FROM nodes CROSS JOIN counters ON counters.node = nodes.node ",
        "WHERE service = ?1 ORDER BY name LIMIT ?2");
    SELECT_NODES_AFTER = concat!(node_row!(), "FROM nodes CROSS JOIN counters ON counters.node = nodes.node ",
        "WHERE service = ?1 AND name > ?3 ORDER BY name LIMIT ?2");
    SELECT_NODES_TO_SWEEP = concat!(node_row!(), "FROM counters CROSS JOIN nodes ON nodes.node = counters.node ",
        "WHERE sweep_at <= ?1 ORDER BY sweep_at, counters.node LIMIT ?2");
    SELECT_NODE_VALUES = "SELECT field, value FROM node_values WHERE node = ?1 ORDER BY field, position";
    INSERT_NODE = concat!("INSERT INTO nodes (service, name, creator, created, ", node_columns!(), ") VALUES (",
        "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ",
        "?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31)");
    UPDATE_NODE = concat!("UPDATE nodes SET (", node_columns!(), ") = (",
        "?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ",
        "?25, ?26, ?27, ?28) WHERE node = ?1");
    DELETE_NODE = "DELETE FROM nodes WHERE node = ?1";
    INSERT_NODE_VALUE = "INSERT INTO node_values (node, field, position, value) VALUES (?1, ?2, ?3, ?4)";
    DELETE_NODE_VALUES = "DELETE FROM node_values WHERE node = ?1";
    INSERT_COUNTERS = "INSERT INTO counters (node, next_seq, items, subscribers) VALUES (?1, 1, 0, 0)";
    UPDATE_COUNTERS =
        "UPDATE counters SET next_seq = ?2, items = ?3, subscribers = ?4, sweep_at = ?5 WHERE node = ?1";
    SELECT_NEXT_SWEEP = "SELECT sweep_at FROM counters WHERE sweep_at IS NOT NULL ORDER BY sweep_at LIMIT 1";
    UPSERT_REDIRECT = "INSERT INTO redirects (service, name, uri) VALUES (?1, ?2, ?3) \
        ON CONFLICT (service, name) DO UPDATE SET uri = excluded.uri";
    COUNT_REDIRECTS = "SELECT count(*) FROM redirects WHERE service = ?1";
    SELECT_REDIRECT = "SELECT uri FROM redirects WHERE service = ?1 AND name = ?2";
    DELETE_REDIRECT = "DELETE FROM redirects WHERE service = ?1 AND name = ?2";

    // Items.
    SELECT_NEWEST = "SELECT seq_key, coalesce(latest, published) FROM items WHERE seq_key BETWEEN ?1 AND ?2 \
        ORDER BY seq_key DESC LIMIT 1";
    INSERT_ITEM = "INSERT INTO items (seq_key, node, id, publisher, published, payload, latest) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (node, id) DO NOTHING";
    SELECT_ITEM = concat!(item_row!(), "WHERE node = ?1 AND id = ?2 AND published > ?3");
    SELECT_ITEMS = concat!(item_row!(), "WHERE seq_key BETWEEN ?1 AND ?2 AND published > ?3 ",
        "ORDER BY seq_key LIMIT ?4 OFFSET ?5");
    SELECT_ITEMS_BACKWARDS = concat!(item_row!(), "WHERE seq_key BETWEEN ?1 AND ?2 AND published > ?3 ",
        "ORDER BY seq_key DESC LIMIT ?4");
    SELECT_FIRST_SEQ = "SELECT seq_key FROM items WHERE seq_key BETWEEN ?1 AND ?2 AND published > ?3 \
        ORDER BY seq_key LIMIT 1";
    SELECT_LAST_SEQ = "SELECT seq_key FROM items WHERE seq_key BETWEEN ?1 AND ?2 AND published > ?3 \
        ORDER BY seq_key DESC LIMIT 1";
    // The first item before which everything has expired.
    SELECT_TIMELY_SEQ = "SELECT seq_key FROM items WHERE seq_key BETWEEN ?1 AND ?2 \
        AND coalesce(latest, published) > ?3 ORDER BY seq_key LIMIT 1";
    COUNT_ITEMS = "SELECT count(*) FROM items WHERE seq_key BETWEEN ?2 AND ?3 AND ?1 > 0";
    COUNT_UNTIMELY = "SELECT count(*) FROM items INDEXED BY items_untimely \
        WHERE node = ?1 AND published <= ?2 AND latest IS NOT NULL AND seq_key BETWEEN ?3 AND ?4";
    SELECT_VICTIM = concat!(victim_row!(), "WHERE node = ?1 AND id = ?2");
    SELECT_OLDEST_VICTIMS = concat!(victim_row!(), "WHERE seq_key BETWEEN ?1 AND ?2 ORDER BY seq_key LIMIT ?3");
    SELECT_UNTIMELY_VICTIMS = concat!(victim_row!(), "INDEXED BY items_untimely WHERE node = ?1 ",
        "AND published <= ?2 AND latest IS NOT NULL AND seq_key BETWEEN ?3 AND ?4 ORDER BY seq_key LIMIT ?5");
    SELECT_VICTIMS_OF = concat!(victim_row!(), "WHERE seq_key BETWEEN ?1 AND ?2 AND publisher = ?3 ",
        "ORDER BY seq_key");
    DELETE_ITEM = "DELETE FROM items WHERE seq_key = ?1";
    DELETE_ITEMS = "DELETE FROM items WHERE seq_key BETWEEN ?1 AND ?2";
    SUM_ITEMS = "SELECT count(*), coalesce(sum(octet_length(payload)), 0) FROM items WHERE seq_key BETWEEN ?1 AND ?2";

    ADD_ITEM_GAP = gaps!(add "item_gaps" "node");
    FORGET_ITEM_GAPS = gaps!(forget "item_gaps" "node");
    SUM_ITEM_GAPS = gaps!(sum "item_gaps" "node");
    SELECT_ITEM_GAPS = gaps!(list "item_gaps" "node");

    // Affiliations.
    SELECT_AFFILIATION = "SELECT affiliation FROM affiliations WHERE node = ?1 AND jid = ?2";
    UPSERT_AFFILIATION = "INSERT INTO affiliations (node, jid, affiliation) VALUES (?1, ?2, ?3) \
        ON CONFLICT (node, jid) DO UPDATE SET affiliation = excluded.affiliation";
    DELETE_AFFILIATION = "DELETE FROM affiliations WHERE node = ?1 AND jid = ?2";
    SELECT_AFFILIATIONS = "SELECT jid, affiliation FROM affiliations WHERE node = ?1 ORDER BY jid";
    SELECT_AFFILIATIONS_OF = "SELECT name, affiliation FROM affiliations AS a CROSS JOIN nodes ON nodes.node = a.node \
        WHERE a.jid = ?2 AND nodes.service = ?1 ORDER BY name";

    // Subscriptions.
    INSERT_SUBSCRIPTION = "INSERT INTO subscriptions (node, service, jid, bare, subid, state, wants_public, created, \
        deliver, digest, digest_frequency, expire_presence, expire_at, include_body, show_values, subscription_type, \
        subscription_depth, roomnick) \
        SELECT node, service, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17 \
        FROM nodes WHERE node = ?1";
    UPDATE_SUBSCRIPTION = "UPDATE subscriptions SET state = ?2, wants_public = ?3, shown = ?4, deliver = ?5, digest = ?6, \
        digest_frequency = ?7, expire_presence = ?8, expire_at = ?9, include_body = ?10, show_values = ?11, \
        subscription_type = ?12, subscription_depth = ?13, roomnick = ?14 WHERE subscription = ?1";
    DELETE_SUBSCRIPTION = "DELETE FROM subscriptions WHERE subscription = ?1";
    SELECT_SUBSCRIPTIONS_TO = concat!(subscription_row!(), "WHERE s.node = ?1 AND s.bare = ?2 ORDER BY s.subscription");
    SELECT_SUBSCRIPTION_BY_ROOMNICK = concat!(subscription_row!(), "WHERE s.node = ?1 AND s.roomnick = ?2");
    SELECT_SUBSCRIPTIONS = concat!(subscription_row!(), "INDEXED BY subscriptions_node ",
        "WHERE s.node = ?1 AND s.subscription > ?2 ORDER BY s.subscription LIMIT ?3");
    SELECT_SUBSCRIBERS = "SELECT s.subscription, s.jid, a.affiliation, s.expire_at, s.include_body, s.show_values \
        FROM subscriptions AS s INDEXED BY subscriptions_node \
        LEFT JOIN affiliations AS a ON a.node = s.node AND a.jid = s.bare \
        WHERE s.node = ?1 AND s.subscription > ?2 AND s.state = 'subscribed' AND s.deliver \
        ORDER BY s.subscription LIMIT ?3";
    SELECT_PENDING = concat!(subscription_row!(), "INDEXED BY subscriptions_pending ",
        "WHERE s.node = ?1 AND s.state = 'pending' ORDER BY s.subscription");
    SELECT_NODES_WITH_PENDING = "SELECT DISTINCT name FROM subscriptions AS s CROSS JOIN nodes ON nodes.node = s.node \
        WHERE s.service = ?1 AND s.state = 'pending' ORDER BY name";
    SELECT_SUBSCRIPTIONS_OF = concat!(placed_row!(), "WHERE s.bare = ?1 ",
        "ORDER BY services.jid, nodes.name, s.subscription");
    SELECT_SUBSCRIPTIONS_OF_AT = concat!(placed_row!(), "WHERE s.bare = ?1 AND s.service = ?2 ",
        "ORDER BY nodes.name, s.subscription");
    COUNT_SUBSCRIPTIONS_OF = "SELECT subscriptions FROM subscribers WHERE bare = ?1 AND service = ?2";
    SELECT_EXPIRED_SUBSCRIPTIONS = concat!(placed_row!(), "WHERE s.expire_at <= ?1 ",
        "ORDER BY s.expire_at, s.subscription LIMIT ?2");
    SELECT_NEXT_LEASE_END =
        "SELECT expire_at FROM subscriptions WHERE expire_at IS NOT NULL ORDER BY expire_at LIMIT 1";
    SELECT_PRESENCE_BOUND = concat!(placed_row!(), "WHERE s.expire_presence AND s.jid = ?1 ORDER BY s.subscription");

    // Public marks.
    SELECT_PUBLIC_LIST = "SELECT last_position, entries FROM public_lists WHERE node = ?1";
    UPSERT_PUBLIC_LIST = "INSERT INTO public_lists (node, last_position, entries) VALUES (?1, ?2, ?3) \
        ON CONFLICT (node) DO UPDATE SET last_position = excluded.last_position, entries = excluded.entries";
    INSERT_PUBLIC_SUBSCRIBER = "INSERT INTO public_subscribers (node, position, bare, since) VALUES (?1, ?2, ?3, ?4)";
    DELETE_PUBLIC_SUBSCRIBER = "DELETE FROM public_subscribers WHERE node = ?1 AND position = ?2";
    SELECT_PUBLIC_SUBSCRIBER =
        "SELECT position, since, bare, '' FROM public_subscribers WHERE node = ?1 AND bare = ?2";
    COUNT_PUBLIC_SUBSCRIBERS =
        "SELECT count(*) FROM public_subscribers WHERE node = ?1 AND position BETWEEN ?2 AND ?3";
    SELECT_PUBLIC_SUBSCRIBERS = "SELECT position, since, bare, '' FROM public_subscribers \
        WHERE node = ?1 AND position > ?2 ORDER BY position LIMIT ?3 OFFSET ?4";
    SELECT_PUBLIC_SUBSCRIBERS_BACKWARDS = "SELECT position, since, bare, '' FROM public_subscribers \
        WHERE node = ?1 AND position < ?2 ORDER BY position DESC LIMIT ?3";
    ADD_PUBLIC_GAP = gaps!(add "public_gaps" "node");
    FORGET_PUBLIC_GAPS = gaps!(forget "public_gaps" "node");
    SUM_PUBLIC_GAPS = gaps!(sum "public_gaps" "node");
    SELECT_PUBLIC_GAPS = gaps!(list "public_gaps" "node");
    SELECT_PUBLIC_SUBSCRIBERS_SINCE =
        "SELECT position FROM public_subscribers WHERE node = ?1 AND since >= ?2 ORDER BY position LIMIT 1";
    SELECT_ACCOUNT_LIST = "SELECT list, last_position, entries FROM account_lists WHERE account = ?1";
    INSERT_ACCOUNT_LIST = "INSERT INTO account_lists (account, last_position, entries) VALUES (?1, 0, 0)";
    UPDATE_ACCOUNT_LIST = "UPDATE account_lists SET last_position = ?2, entries = ?3 WHERE list = ?1";
    DELETE_ACCOUNT_LIST = "DELETE FROM account_lists WHERE list = ?1";
    INSERT_PUBLIC_SUBSCRIPTION = "INSERT INTO public_subscriptions (list, position, service, node_name, since) \
        VALUES (?1, ?2, ?3, ?4, ?5)";
    DELETE_PUBLIC_SUBSCRIPTION = "DELETE FROM public_subscriptions WHERE list = ?1 AND position = ?2";
    SELECT_PUBLIC_SUBSCRIPTION = "SELECT position, since, service, node_name FROM public_subscriptions \
        WHERE list = ?1 AND service = ?2 AND node_name = ?3";
    COUNT_PUBLIC_SUBSCRIPTIONS =
        "SELECT count(*) FROM public_subscriptions WHERE list = ?1 AND position BETWEEN ?2 AND ?3";
    SELECT_PUBLIC_SUBSCRIPTIONS = "SELECT position, since, service, node_name FROM public_subscriptions \
        WHERE list = ?1 AND position > ?2 ORDER BY position LIMIT ?3 OFFSET ?4";
    SELECT_PUBLIC_SUBSCRIPTIONS_BACKWARDS = "SELECT position, since, service, node_name FROM public_subscriptions \
        WHERE list = ?1 AND position < ?2 ORDER BY position DESC LIMIT ?3";
    SELECT_PUBLIC_SUBSCRIPTIONS_SINCE =
        "SELECT position FROM public_subscriptions WHERE list = ?1 AND since >= ?2 ORDER BY position LIMIT 1";
    ADD_ACCOUNT_GAP = gaps!(add "account_gaps" "list");
    FORGET_ACCOUNT_GAPS = gaps!(forget "account_gaps" "list");
    SUM_ACCOUNT_GAPS = gaps!(sum "account_gaps" "list");
    SELECT_ACCOUNT_GAPS = gaps!(list "account_gaps" "list");
    SELECT_ACCOUNTS_LISTING = "SELECT l.account FROM public_subscriptions p JOIN account_lists l ON l.list = p.list \
        WHERE p.service = ?1 AND p.node_name = ?2 ORDER BY p.list";

    // Subscriptions managed elsewhere.
    UPSERT_PAM_ENTRY = "INSERT INTO pam_entries (account, service, node_name, subid, state, wants_public, \
        unsubscribing) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) \
        ON CONFLICT (account, service, node_name, subid) DO UPDATE SET state = excluded.state, \
        wants_public = excluded.wants_public, unsubscribing = excluded.unsubscribing";
    DELETE_PAM_ENTRY =
        "DELETE FROM pam_entries WHERE account = ?1 AND service = ?2 AND node_name = ?3 AND subid = ?4";
    DELETE_PAM_ENTRIES = "DELETE FROM pam_entries WHERE account = ?1";
    SELECT_PAM_ENTRIES = concat!(pam_row!(), "WHERE account = ?1 ORDER BY service, node_name, subid");
    SELECT_PAM_ENTRIES_FOR = concat!(pam_row!(), "WHERE account = ?1 AND service = ?2 AND node_name = ?3 ",
        "ORDER BY subid");
    SELECT_PAM_SERVICES = "SELECT account, service FROM pam_entries WHERE (account, service) > (?1, ?2) \
        GROUP BY account, service ORDER BY account, service LIMIT ?3";
    SELECT_PAM_VERSION = "SELECT version FROM pam_versions WHERE account = ?1";
    UPSERT_PAM_VERSION = "INSERT INTO pam_versions (account, version) VALUES (?1, ?2) \
        ON CONFLICT (account) DO UPDATE SET version = excluded.version";
    DELETE_PAM_VERSION = "DELETE FROM pam_versions WHERE account = ?1";
    UPSERT_INTENT = "INSERT INTO intents (id, account, service, node_name, subid, operation, requester, request_id, \
        request_to, stanza, attempts, deadline) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
        ON CONFLICT (id) DO UPDATE SET account = excluded.account, service = excluded.service, \
        node_name = excluded.node_name, subid = excluded.subid, operation = excluded.operation, \
        requester = excluded.requester, request_id = excluded.request_id, request_to = excluded.request_to, \
        stanza = excluded.stanza, attempts = excluded.attempts, deadline = excluded.deadline";
    SELECT_INTENT = concat!(intent_row!(), "WHERE id = ?1");
    SELECT_INTENTS_OF = concat!(intent_row!(), "WHERE account = ?1 ORDER BY id");
    SELECT_OVERDUE_INTENTS = concat!(intent_row!(), "WHERE deadline <= ?1 ORDER BY deadline, id LIMIT ?2");
    SELECT_NEXT_DEADLINE = "SELECT min(deadline) FROM intents";
    DELETE_INTENT = "DELETE FROM intents WHERE id = ?1";
    DELETE_INTENTS_OF = "DELETE FROM intents WHERE account = ?1";

    // Subscriptions that accounts make by themselves.
    UPSERT_AUTO = "INSERT INTO auto_subscriptions (account, service, node_name, subid, state, expire_at) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (account, service, node_name) \
        DO UPDATE SET subid = excluded.subid, state = excluded.state, expire_at = excluded.expire_at";
    SELECT_AUTO = concat!(auto_row!(), "WHERE account = ?1 AND service = ?2 AND node_name = ?3");
    SELECT_AUTO_OF = concat!(auto_row!(), "WHERE account = ?1 ORDER BY service, node_name");
    SELECT_EXPIRED_AUTO = concat!(auto_row!(), "WHERE expire_at <= ?1 ",
        "ORDER BY expire_at, account, service, node_name LIMIT ?2");
    SELECT_NEXT_AUTO_END = "SELECT min(expire_at) FROM auto_subscriptions";
    DELETE_AUTO = "DELETE FROM auto_subscriptions WHERE account = ?1 AND service = ?2 AND node_name = ?3";

    // The journals of accounts.
    INSERT_JOURNAL = "INSERT INTO journal (account, service, node_name, arrived, expire_at, seen, content) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    ADD_JOURNAL_TOTALS = "INSERT INTO journal_totals (account, entries, bytes) VALUES (?1, ?2, ?3) \
        ON CONFLICT (account) DO UPDATE SET entries = entries + excluded.entries, bytes = bytes + excluded.bytes";
    SELECT_JOURNAL_TOTALS = "SELECT entries, bytes FROM journal_totals WHERE account = ?1";
    DELETE_JOURNAL_TOTALS = "DELETE FROM journal_totals WHERE account = ?1";
    SELECT_OLDEST_JOURNAL = "SELECT entry, account, octet_length(content) FROM journal \
        WHERE account = ?1 ORDER BY entry LIMIT ?2";
    SELECT_EXPIRED_JOURNAL = "SELECT entry, account, octet_length(content) FROM journal \
        WHERE expire_at <= ?1 ORDER BY expire_at, entry LIMIT ?2";
    SELECT_NEXT_JOURNAL_END = "SELECT min(expire_at) FROM journal";
    SELECT_LAST_JOURNAL = concat!(journal_row!(), "WHERE account = ?1 AND service = ?2 AND node_name = ?3 ",
        "ORDER BY entry DESC LIMIT 1");
    SELECT_JOURNAL = concat!(journal_row!(), journal_part!(), "AND entry > ?7 ORDER BY entry LIMIT ?8 OFFSET ?9");
    SELECT_JOURNAL_BACKWARDS =
        concat!(journal_row!(), journal_part!(), "AND entry < ?7 ORDER BY entry DESC LIMIT ?8");
    COUNT_JOURNAL = concat!("SELECT count(*) FROM journal ", journal_part!());
    COUNT_JOURNAL_BEFORE = concat!("SELECT count(*) FROM journal ", journal_part!(), "AND entry < ?7");
    SEE_JOURNAL_ENTRY = "UPDATE journal SET seen = 1 WHERE entry = ?1";
    DELETE_JOURNAL_ENTRY = "DELETE FROM journal WHERE entry = ?1";
    DELETE_JOURNAL = "DELETE FROM journal WHERE account = ?1";

    // Capabilities and values.
    SELECT_CAPABILITY = "SELECT capability FROM capabilities WHERE hash = ?1";
    SELECT_FEATURES = "SELECT feature FROM capability_features WHERE capability = ?1 ORDER BY position";
    DELETE_CAPABILITY = "DELETE FROM capabilities WHERE hash = ?1";
    INSERT_CAPABILITY = "INSERT INTO capabilities (hash, learnt) VALUES (?1, ?2)";
    INSERT_FEATURE = "INSERT INTO capability_features (capability, position, feature) VALUES (?1, ?2, ?3)";
    DELETE_OLD_CAPABILITIES = "DELETE FROM capabilities WHERE capability IN \
        (SELECT capability FROM capabilities ORDER BY learnt DESC, capability DESC LIMIT -1 OFFSET ?1)";
    SELECT_VALUE = "SELECT value FROM engine_values WHERE name = ?1";
    UPSERT_VALUE = "INSERT INTO engine_values (name, value) VALUES (?1, ?2) \
        ON CONFLICT (name) DO UPDATE SET value = excluded.value";
}
