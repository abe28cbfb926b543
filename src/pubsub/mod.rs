//! The publish-subscribe model of XEP-0060 without its XML: what nodes, items, subscriptions and affiliations are, who
//! may do what ([`access`]), and what a store has to keep ([`store`]).
//!
//! A pubsub component, an account (XEP-0163) and later a room are the same model under a different
//! [`policy::Policy`].

pub mod access;
pub mod affiliation;
pub mod config;
pub mod item;
pub mod node;
pub mod policy;
pub mod rules;
pub mod store;
pub mod subscription;

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

pub use access::{Action, Refusal, Standing, may};
pub use affiliation::Affiliation;
pub use config::NodeConfig;
pub use item::Item;
pub use node::{Counters, Node};
pub use policy::Policy;
pub use subscription::{Subscription, SubscriptionOptions, SubscriptionState};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A NodeID: unique within its service.
    NodeName
);
name!(
    /// An ItemID: unique within its node.
    ItemId
);
name!(
    /// A SubID: tells the subscriptions of one JID to one node apart.
    SubId
);

/// Declares an enumeration whose values the XEPs spell out, with both directions of the spelling.
macro_rules! spelled {
    ($(#[$doc:meta])* $type:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[$vdoc])* $variant,)+
        }

        impl $type {
            /// Every value, in the order of the specification.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The spelling of the specification.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            /// Reads the spelling of the specification.
            pub fn parse(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use spelled;
