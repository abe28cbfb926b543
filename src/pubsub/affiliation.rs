//! Affiliations (XEP-0060, section 4.1): how a bare JID stands to a node.

use super::spelled;

spelled!(
    /// How a bare JID stands to a node.
    Affiliation {
        /// May do everything, configure and delete included.
        Owner = "owner",
        /// May publish, subscribe and retrieve.
        Publisher = "publisher",
        /// May publish, but neither subscribe nor retrieve.
        PublishOnly = "publish-only",
        /// May subscribe and retrieve whatever the access model says: is on the whitelist.
        Member = "member",
        /// Stands in no special relation: the access model decides.
        None = "none",
        /// May do nothing.
        Outcast = "outcast",
    }
);

impl Affiliation {
    /// The disco feature that announces the affiliation; the required ones have none.
    pub const fn feature(self) -> Option<&'static str> {
        match self {
            Self::Publisher => Some("publisher-affiliation"),
            Self::PublishOnly => Some("publish-only-affiliation"),
            Self::Member => Some("member-affiliation"),
            Self::Outcast => Some("outcast-affiliation"),
            Self::Owner | Self::None => None,
        }
    }

    /// Whether an owner may turn `self` into `to` (XEP-0060, section 4.1, state chart). What the chart marks "n/a" is
    /// refused; publish-only moves as publisher does.
    pub fn may_become(self, to: Self) -> bool {
        match self {
            Self::Publisher | Self::PublishOnly => to != Self::Member,
            Self::Owner => matches!(to, Self::None | Self::Owner),
            Self::Member | Self::None | Self::Outcast => true,
        }
    }
}
