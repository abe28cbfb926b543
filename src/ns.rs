//! Every namespace that the crate speaks, once, with the document that defines it.

/// RFC 6120: stanzas between client and server.
pub const CLIENT: &str = "jabber:client";
/// RFC 6120, section 8.3: defined conditions of stanza errors.
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// The prefix `xml` (Namespaces in XML 1.0).
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// The prefix `xmlns` (Namespaces in XML 1.0); never bound by a document.
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// XEP-0004: data forms.
pub const DATA_FORMS: &str = "jabber:x:data";
/// XEP-0030: information about an entity or node.
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// XEP-0030: items of an entity or node.
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// XEP-0033: extended addressing.
pub const ADDRESS: &str = "http://jabber.org/protocol/address";
/// XEP-0050: ad-hoc commands.
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// XEP-0059: result set management.
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// XEP-0060: requests of everyone.
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// XEP-0060: requests of owners.
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// XEP-0060: notifications.
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// XEP-0060: application-specific conditions of stanza errors.
pub const PUBSUB_ERRORS: &str = "http://jabber.org/protocol/pubsub#errors";
/// XEP-0060: form type of a node's configuration.
pub const NODE_CONFIG: &str = "http://jabber.org/protocol/pubsub#node_config";
/// XEP-0060: form type of the preconditions of a publish request.
pub const PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";
/// XEP-0060: form type of subscription options.
pub const SUBSCRIBE_OPTIONS: &str = "http://jabber.org/protocol/pubsub#subscribe_options";
/// XEP-0060: form type of subscription approval.
pub const SUBSCRIBE_AUTHORIZATION: &str = "http://jabber.org/protocol/pubsub#subscribe_authorization";
/// XEP-0060: form type of a node's meta-data.
pub const META_DATA: &str = "http://jabber.org/protocol/pubsub#meta-data";
/// XEP-0060: node of the ad-hoc command that lists pending subscriptions.
pub const GET_PENDING: &str = "http://jabber.org/protocol/pubsub#get-pending";
/// XEP-0115: entity capabilities.
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// XEP-0390: entity capabilities 2.0.
pub const CAPS2: &str = "urn:xmpp:caps";
/// XEP-0300: hash functions, as XEP-0390 uses them.
pub const HASHES: &str = "urn:xmpp:hashes:2";
/// XEP-0131: stanza headers.
pub const SHIM: &str = "http://jabber.org/protocol/shim";
/// XEP-0108: what somebody does, as XEP-0316 has it in examples.
pub const ACTIVITY: &str = "http://jabber.org/protocol/activity";
/// RFC 4575: the state of a conference, which rooms publish at a node of this name (XEP-0316, section 2).
pub const CONFERENCE_INFO: &str = "urn:ietf:params:xml:ns:conference-info";
/// XEP-0045: what a room says of its occupants.
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// XEP-0203: delayed delivery.
pub const DELAY: &str = "urn:xmpp:delay";
/// XEP-0297: forwarded stanzas.
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// XEP-0313: message archives.
pub const MAM: &str = "urn:xmpp:mam:2";
/// XEP-0376: subscriptions that the account manages.
pub const PAM: &str = "urn:xmpp:pam:0";
/// Extension to XEP-0376: filters of one resource.
pub const PAM_FILTER: &str = "urn:xmpp:pam:0#filter";
/// Extension to XEP-0376: events that came in while nobody was there.
pub const PAM_JOURNAL: &str = "urn:xmpp:pam:0#journal";
/// Extension to XEP-0376: subscriptions that the account makes by itself.
pub const PAM_AUTO: &str = "urn:xmpp:pam:0#auto";
/// XEP-0413: order of items.
pub const ORDER_BY: &str = "urn:xmpp:order-by:1";
/// XEP-0462: filter of nodes by type.
pub const PUBSUB_FILTER: &str = "urn:xmpp:pubsub-filter:0";
/// XEP-0465: public subscriptions.
pub const PPS: &str = "urn:xmpp:pps:0";
/// XEP-0465: the node that lists what an account is publicly subscribed to.
pub const PPS_SUBSCRIPTIONS: &str = "urn:xmpp:pps:subscriptions:0";
/// XEP-0465: prefix of the nodes that list the public subscribers of a node.
pub const PPS_SUBSCRIBERS: &str = "urn:xmpp:pps:subscribers:0/";
/// XEP-0465 in the wild: the form field that marks a subscription as public.
pub const PPS_PUBLIC_FIELD: &str = "{urn:xmpp:pps:0}public";
/// RFC 6121: rosters.
pub const ROSTER: &str = "jabber:iq:roster";
/// The node that shows who sees whose node `presence` (XEP-0207), and the mark of what waits for an answer there.
pub const EVENTING_ROSTER: &str = "urn:pam_pps:roster:0";
/// RFC 4287: Atom.
pub const ATOM: &str = "http://www.w3.org/2005/Atom";
/// XEP-0277: microblogs, whose items are Atom entries.
pub const MICROBLOG: &str = "urn:xmpp:microblog:0";
/// The document in which hosts hand over data of the module that was there before.
pub const IMPORT: &str = "urn:pam_pps:import:1";
