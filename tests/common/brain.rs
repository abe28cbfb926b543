//! The engine as a host sees it, whichever way it is called.

/// One input.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Stanza(String),
    Tick,
    SessionEnded(String),
    /// An account or a room.
    AccountRemoved(String),
    RoomChanged(String),
    RosterChanged {
        owner: String,
        contact: String,
    },
}

/// A fact that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    Account { jid: String, exists: bool },
    Roster { owner: String, contact: String, stance: Stance, groups: Vec<String> },
    Admin { who: String, service: String, is_admin: bool },
    Blocked { owner: String, contact: String, blocked: bool },
    Import { service: String, done: bool },
    Room { who: String, room: String, affiliation: String, voice: bool },
    RoomInfo { room: String, name: String, description: String, subject: String },
}

/// How two stand, seen from the owner's roster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stance {
    #[default]
    None,
    To,
    From,
    Both,
}

impl Stance {
    pub(crate) fn from(self) -> bool {
        matches!(self, Self::From | Self::Both)
    }

    pub(crate) fn to(self) -> bool {
        matches!(self, Self::To | Self::Both)
    }

    pub(crate) fn of(to: bool, from: bool) -> Self {
        match (to, from) {
            (false, false) => Self::None,
            (true, false) => Self::To,
            (false, true) => Self::From,
            (true, true) => Self::Both,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::To => "to",
            Self::From => "from",
            Self::Both => "both",
        }
    }
}

/// What the engine wants to know.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Account(String),
    Roster { owner: String, contact: String },
    Admin { who: String, service: String },
    Blocked { owner: String, contact: String },
    Import(String),
    Room { who: String, room: String },
    RoomInfo(String),
}

/// One decision.
#[derive(Debug, Clone)]
pub(crate) enum Decided {
    Pass,
    Route(String),
    Multicast {
        stanza: String,
        id: String,
        recipients: Vec<String>,
    },
    Need(Question),
    Wake(i64),
    /// An event for host modules or the answer to an administrator; of no concern to scripts.
    Other,
}

/// Which answer to disco#info is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Account = 1,
    Domain = 2,
    Room = 4,
}

/// Options by name.
pub(crate) type Options = Vec<(String, String)>;

/// What a served domain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Accounts = 1,
    Component = 2,
    Rooms = 3,
}

/// Everything the engine is told at its start.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// Options of the engine itself.
    pub(crate) options: Options,
    /// Domain, what it is, and options of the service.
    pub(crate) services: Vec<(String, Kind, Options)>,
}

/// An engine that was opened one way or another.
pub(crate) trait Brain {
    /// Gives an input and returns what was decided. With questions among it, [`Brain::again`] must follow.
    fn call(&mut self, now: i64, call: &Call) -> Result<Vec<Decided>, String>;

    /// Gives the same input once more, with these facts added.
    fn again(&mut self, now: i64, facts: &[Fact]) -> Result<Vec<Decided>, String>;

    /// Lines of features; identities as `identity`, category, type and name with tabs between.
    fn features(&self, domain: &str, place: Place) -> Result<String, String>;
}
