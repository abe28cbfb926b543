//! What plays the scenarios: the script language, the doors, the report.

pub(crate) mod brain;
pub(crate) mod c_brain;
pub(crate) mod compare;
pub(crate) mod door;
pub(crate) mod ejabberd;
pub(crate) mod federated_door;
pub(crate) mod live_door;
pub(crate) mod live_stream;
pub(crate) mod memory_door;
pub(crate) mod report;
pub(crate) mod rooms;
pub(crate) mod roster;
pub(crate) mod runner;
pub(crate) mod rust_brain;
pub(crate) mod script;
pub(crate) mod world;
pub(crate) mod xml;
