//! Services, nodes and affiliations.

use std::sync::Arc;

use super::{SERVICE, at, commit, item, make_node, new_node};
use crate::pubsub::config::{
    AccessModel, ItemReply, Limit, NotificationType, PublishModel, PublishNodeFull, SendLastPublishedItem,
};
use crate::pubsub::store::{NewSubscription, NodeKey, Place, Removed, Service, ServiceKey, Store, SubscriptionKey};
use crate::pubsub::{Affiliation, Counters, Node, NodeConfig, Subscription, SubscriptionOptions, SubscriptionState};

const OTHER: &str = "pubsub.capulet.example";

pub(super) fn services(store: &mut dyn Store) {
    let service = commit(store, |t| t.insert_service(SERVICE));
    assert_eq!(service, Service { key: service.key, jid: SERVICE.into(), imported: false, nodes: 0, bytes: 0 });
    let changed = Service { imported: true, nodes: 3, bytes: 1 << 40, ..service.clone() };
    commit(store, |t| {
        assert_eq!(t.service_jid(service.key)?.as_deref(), Some(SERVICE));
        assert_eq!(t.service_jid(ServiceKey(99_999))?, None);
        assert_eq!(t.service(SERVICE)?, Some(service));
        assert_eq!(t.service("juliet@capulet.exampl")?, None);
        assert!(t.insert_service(SERVICE).is_err());
        let other = t.insert_service(OTHER)?;
        t.update_service(&changed)?;
        assert_eq!(t.service(SERVICE)?, Some(changed.clone()));
        assert_eq!(t.service(OTHER)?, Some(other.clone()));
        for name in ["/b/1", "/a/2", "/a/1", "/a.x/1"] {
            t.insert_service(name)?;
        }
        let names = |found: Vec<Service>| found.iter().map(|service| service.jid.to_string()).collect::<Vec<_>>();
        assert_eq!(names(t.services_between("/a/", "/a0", 10)?), ["/a/1", "/a/2"]);
        assert_eq!(names(t.services_between("/a/", "/a0", 1)?), ["/a/1"]);
        assert_eq!(t.services_between(OTHER, OTHER, 1)?, []);
        Ok(())
    });
}

pub(super) fn a_service_goes_with_all_it_has(store: &mut dyn Store) {
    let (node, kept) = commit(store, |t| {
        let node = make_node(t, SERVICE, "blog")?;
        t.insert_item(node.key, &item(1, "1"))?;
        t.set_affiliation(node.key, SERVICE, Affiliation::Owner)?;
        t.set_redirect(node.service, "old", "xmpp:new")?;
        let kept = make_node(t, OTHER, "blog")?;
        t.insert_item(kept.key, &item(1, "1"))?;
        t.set_redirect(kept.service, "old", "xmpp:new")?;
        Ok((node, kept))
    });
    commit(store, |t| t.delete_service(node.service));
    commit(store, |t| {
        assert_eq!(t.service(SERVICE)?, None);
        assert_eq!(t.node_by_key(node.key)?, None);
        assert_eq!(t.item(node.key, "1", None)?, None);
        assert_eq!(t.affiliation(node.key, SERVICE)?, Affiliation::None);
        assert_eq!(t.redirect(node.service, "old")?, None);
        assert!(t.service(OTHER)?.is_some());
        assert!(t.item(kept.key, "1", None)?.is_some());
        assert_eq!(t.redirect(kept.service, "old")?, Some("xmpp:new".into()));
        let again = t.insert_service(SERVICE)?;
        assert_eq!((again.nodes, again.imported), (0, false));
        assert_eq!(t.nodes(again.key, None, 10)?, []);
        Ok(())
    });
}

/// Two configurations between which every option differs, and one with the values between.
fn configs() -> [NodeConfig; 3] {
    let defaults = NodeConfig::component();
    let other = NodeConfig {
        access_model: AccessModel::Roster,
        publish_model: PublishModel::Subscribers,
        persist_items: false,
        max_items: Limit::Max,
        item_expire: Limit::Max,
        max_payload_size: u32::MAX,
        publish_node_full: PublishNodeFull::Reject,
        send_last_published_item: SendLastPublishedItem::Never,
        deliver_notifications: false,
        deliver_payloads: false,
        notification_type: NotificationType::Normal,
        notify_config: true,
        notify_delete: false,
        notify_retract: false,
        notify_sub: true,
        itemreply: ItemReply::Publisher,
        presence_based_delivery: true,
        purge_offline: true,
        tempsub: true,
        subscribe: false,
        roster_groups_allowed: vec!["z".into(), "friends & 'family'".into(), "a".into()],
        node_type: defaults.node_type,
        title: "t'); DROP TABLE nodes; --".into(),
        description: "Ein Hügel ⛰ ?1 :a".into(),
        r#type: "urn:xmpp:microblog:0".into(),
        language: "de".into(),
        contact: vec!["romeo@montague.example".into(), "a@b".into()],
        body_xslt: "http://example.org/body".into(),
        dataform_xslt: "http://example.org/form".into(),
    };
    let between = NodeConfig {
        access_model: AccessModel::Authorize,
        publish_model: PublishModel::Open,
        max_items: Limit::Of(u32::MAX),
        item_expire: Limit::Of(60),
        publish_node_full: PublishNodeFull::DiscardOldest,
        send_last_published_item: SendLastPublishedItem::OnSub,
        contact: vec!["a@b".into()],
        ..defaults.clone()
    };
    [defaults, other, between]
}

pub(super) fn options_come_back_as_they_were(store: &mut dyn Store) {
    let service = commit(store, |t| t.insert_service(SERVICE)).key;
    for (number, config) in configs().into_iter().enumerate() {
        let name = format!("node {number}");
        let config = Arc::new(config);
        let made = commit(store, |t| t.insert_node(service, &name, "romeo@montague.example", at(7), &config));
        let whole = Node {
            key: made.key,
            service,
            name: name.as_str().into(),
            creator: "romeo@montague.example".into(),
            created: at(7),
            config,
            counters: Counters { next_seq: 1, items: 0, subscribers: 0, sweep_at: None },
        };
        assert_eq!(made, whole);
        assert_eq!(commit(store, |t| t.node(service, &name)), Some(whole));
        for config in configs() {
            commit(store, |t| t.update_node_config(made.key, &config));
            let node = commit(store, |t| t.node_by_key(made.key)).expect("node");
            assert_eq!(*node.config, config);
        }
    }
    for access_model in AccessModel::ALL.iter().copied() {
        let config = NodeConfig { access_model, ..NodeConfig::account() };
        let node = commit(store, |t| {
            let node = t.node(service, "node 0")?.expect("node");
            t.update_node_config(node.key, &config)?;
            t.node_by_key(node.key)
        });
        assert_eq!(node.map(|node| node.config.access_model), Some(access_model));
    }
}

pub(super) fn nodes_are_found(store: &mut dyn Store) {
    commit(store, |t| {
        let one = make_node(t, SERVICE, "blog")?;
        let other = make_node(t, OTHER, "blog")?;
        assert_ne!(one.key, other.key);
        assert!(make_node(t, SERVICE, "blog").is_err());
        assert!(t.insert_node(ServiceKey(99_999), "x", SERVICE, at(1), &one.config).is_err());
        assert_eq!(t.node(one.service, "blog")?, Some(one.clone()));
        assert_eq!(t.node(other.service, "blog")?, Some(other.clone()));
        assert_eq!(t.node_by_key(other.key)?, Some(other));
        assert_eq!(t.node(one.service, "Blog")?, None);
        assert_eq!(t.node(one.service, "")?, None);
        assert_eq!(t.node_by_key(NodeKey(99_999))?, None);
        Ok(())
    });
}

pub(super) fn nodes_in_the_order_of_their_names(store: &mut dyn Store) {
    let names = ["Z", "a", "a b", "aa", "z", "ä", "😀"];
    let service = commit(store, |t| {
        for name in ["z", "😀", "a b", "Z", "aa", "ä", "a"] {
            make_node(t, SERVICE, name)?;
            make_node(t, OTHER, name)?;
        }
        t.service(SERVICE)
    });
    let service = service.expect("service").key;
    let mut page = |after: Option<&str>, limit| -> Vec<String> {
        let nodes = commit(store, |t| t.nodes(service, after, limit));
        assert!(nodes.iter().all(|node| node.service == service));
        nodes.iter().map(|node| node.name.to_string()).collect()
    };
    assert_eq!(page(None, 100), names);
    assert_eq!(page(None, 0), [""; 0]);
    assert_eq!(page(None, 2), names[..2]);
    assert_eq!(page(Some("a"), 3), names[2..5]);
    assert_eq!(page(Some("a a"), usize::MAX), names[2..]);
    assert_eq!(page(Some("😀"), 3), [""; 0]);
}

pub(super) fn a_node_goes_with_all_it_has(store: &mut dyn Store) {
    let jid = "romeo@montague.example".parse().expect("JID");
    let subid = "1".into();
    let options = SubscriptionOptions::default();
    commit(store, |t| {
        let node = make_node(t, SERVICE, "blog")?;
        let kept = make_node(t, SERVICE, "tune")?;
        for key in [node.key, kept.key] {
            t.insert_item(key, &item(1, "1"))?;
            t.insert_item(key, &item(2, "2"))?;
            t.set_affiliation(key, "romeo@montague.example", Affiliation::Member)?;
            t.insert_public_subscriber(key, "romeo@montague.example", at(1))?;
            t.insert_subscription(&NewSubscription {
                node: key,
                jid: &jid,
                subid: &subid,
                state: SubscriptionState::Subscribed,
                wants_public: true,
                options: &options,
                created: at(1),
            })?;
        }
        let bytes = 2 * item(1, "1").payload.len() as i64;
        assert_eq!(t.delete_node(node.key)?, Removed { items: 2, bytes });
        assert_eq!(t.delete_node(node.key)?, Removed::default());
        assert_eq!(t.node(node.service, "blog")?, None);
        assert_eq!(t.item(node.key, "1", None)?, None);
        assert_eq!(t.affiliations(node.key)?, []);
        assert_eq!(t.subscriptions(node.key, None, 10)?, []);
        assert_eq!(t.public_subscribers(node.key, Place::First, 10)?.count, 0);
        assert_eq!(t.subscriptions_of("romeo@montague.example", None)?.len(), 1);
        assert_eq!(t.affiliations_of(node.service, "romeo@montague.example")?.len(), 1);
        assert!(t.item(kept.key, "2", None)?.is_some());
        assert_eq!(t.public_subscribers(kept.key, Place::First, 10)?.count, 1);
        Ok(())
    });
}

pub(super) fn keys_are_not_used_again(store: &mut dyn Store) {
    let mut newest = NodeKey(0);
    for round in 0..3 {
        let key = new_node(store, "blog");
        assert!(key > newest, "round {round}");
        newest = key;
        commit(store, |t| t.delete_node(key));
    }
}

pub(super) fn counters_and_sweeping(store: &mut dyn Store) {
    let keys = ["a", "b", "c", "d"].map(|name| new_node(store, name));
    let counters = |sweep_at: Option<i64>| Counters {
        next_seq: 1 << 31,
        items: 1_000_000,
        subscribers: 7,
        sweep_at: sweep_at.map(at),
    };
    commit(store, |t| {
        assert_eq!(t.next_sweep()?, None);
        assert_eq!(t.nodes_to_sweep(at(100), 10)?, []);
        for (key, sweep_at) in keys.into_iter().zip([Some(30), Some(20), None, Some(40)]) {
            t.update_node_counters(key, &counters(sweep_at))?;
        }
        assert_eq!(t.node_by_key(keys[0])?.map(|node| node.counters), Some(counters(Some(30))));
        assert_eq!(t.node_by_key(keys[2])?.map(|node| node.counters), Some(counters(None)));
        assert_eq!(t.next_sweep()?, Some(at(20)));
        let mut due = |now, limit| -> Vec<NodeKey> {
            t.nodes_to_sweep(at(now), limit).expect("nodes").iter().map(|node| node.key).collect()
        };
        assert_eq!(due(19, 10), []);
        assert_eq!(due(20, 10), [keys[1]]);
        assert_eq!(due(40, 10), [keys[1], keys[0], keys[3]]);
        assert_eq!(due(40, 2), [keys[1], keys[0]]);
        t.update_node_counters(keys[1], &counters(None))?;
        assert_eq!(t.next_sweep()?, Some(at(30)));
        t.delete_node(keys[0])?;
        assert_eq!(t.next_sweep()?, Some(at(40)));
        Ok(())
    });
}

pub(super) fn redirects(store: &mut dyn Store) {
    commit(store, |t| {
        let service = t.insert_service(SERVICE)?.key;
        assert_eq!(t.redirect(service, "blog")?, None);
        t.set_redirect(service, "blog", "xmpp:one")?;
        t.set_redirect(service, "blog", "xmpp:two")?;
        t.set_redirect(service, "tune", "xmpp:three")?;
        let other = t.insert_service(OTHER)?.key;
        assert_eq!((t.count_redirects(service)?, t.count_redirects(other)?), (2, 0));
        assert_eq!(t.redirect(service, "blog")?, Some("xmpp:two".into()));
        make_node(t, SERVICE, "blog")?;
        assert_eq!(t.redirect(service, "blog")?, None);
        assert_eq!(t.redirect(service, "tune")?, Some("xmpp:three".into()));
        assert!(t.set_redirect(ServiceKey(99_999), "blog", "xmpp:one").is_err());
        Ok(())
    });
}

pub(super) fn affiliations(store: &mut dyn Store) {
    commit(store, |t| {
        let node = make_node(t, SERVICE, "blog")?;
        let tune = make_node(t, SERVICE, "activity")?;
        let elsewhere = make_node(t, OTHER, "blog")?;
        for affiliation in Affiliation::ALL.iter().copied() {
            t.set_affiliation(node.key, "b@example", affiliation)?;
            assert_eq!(t.affiliation(node.key, "b@example")?, affiliation);
        }
        t.set_affiliation(node.key, "a@example", Affiliation::Owner)?;
        t.set_affiliation(node.key, "c@example", Affiliation::Owner)?;
        t.set_affiliation(node.key, "c@example", Affiliation::None)?;
        t.set_affiliation(node.key, "d@example", Affiliation::None)?;
        t.set_affiliation(tune.key, "b@example", Affiliation::Member)?;
        t.set_affiliation(elsewhere.key, "b@example", Affiliation::Publisher)?;
        let both = [("a@example".into(), Affiliation::Owner), ("b@example".into(), Affiliation::Outcast)];
        assert_eq!(t.affiliations(node.key)?, both);
        let of_b = [("activity".into(), Affiliation::Member), ("blog".into(), Affiliation::Outcast)];
        assert_eq!(t.affiliations_of(node.service, "b@example")?, of_b);
        assert_eq!(t.affiliations_of(node.service, "c@example")?, []);
        assert!(t.set_affiliation(NodeKey(99_999), "a@example", Affiliation::Owner).is_err());
        t.set_affiliation(NodeKey(99_999), "a@example", Affiliation::None)
    });
}

pub(super) fn what_is_not_there_cannot_be_changed(store: &mut dyn Store) {
    let gone = NodeKey(99_999);
    commit(store, |t| {
        let service = Service { key: ServiceKey(99_999), jid: OTHER.into(), imported: true, nodes: 1, bytes: 1 };
        t.update_service(&service)?;
        t.delete_service(service.key)?;
        t.update_node_config(gone, &configs()[1])?;
        t.update_node_counters(gone, &Counters::default())?;
        t.update_subscription(&Subscription {
            key: SubscriptionKey(99_999),
            node: gone,
            jid: "a@example".parse()?,
            subid: "1".into(),
            state: SubscriptionState::Pending,
            wants_public: false,
            shown: false,
            options: SubscriptionOptions::default(),
            created: at(1),
        })?;
        t.delete_subscription(SubscriptionKey(99_999))?;
        assert!(t.insert_public_subscriber(gone, "a@example", at(1)).is_err());
        assert_eq!(t.service(OTHER)?, None);
        assert_eq!(t.node_by_key(gone)?, None);
        assert_eq!(t.nodes(service.key, None, 10)?, []);
        assert_eq!(t.subscriptions_of("a@example", None)?, []);
        Ok(())
    });
}
