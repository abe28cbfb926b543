//! What a script is played through.

use std::time::Duration;

use super::script::{Actor, Script};
use super::xml::Element;

/// A way to the engine, with accounts, sessions and routing around it.
pub(crate) trait Door {
    fn name(&self) -> &str;

    /// Whether the door can be had at all.
    fn ready(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Whether the script says anything here.
    fn suits(&self, _script: &Script, _text: &str) -> bool {
        true
    }

    /// The script's text with the addresses that this door gives it.
    fn rewrite(&mut self, text: &str) -> String {
        text.to_owned()
    }

    /// A clean state with the accounts of the script.
    fn begin(&mut self, script: &Script) -> Result<(), String>;

    /// Logs a client in, without presence, or brings a component up. `index` names it from now on.
    fn connect(&mut self, index: usize, actor: &Actor) -> Result<(), String>;

    /// Ends a session without presence of any kind being sent by the client.
    fn disconnect(&mut self, index: usize) -> Result<(), String>;

    fn send(&mut self, index: usize, stanza: &Element) -> Result<(), String>;

    /// The next stanza for anybody; waits up to `patience` where things take real time.
    fn poll(&mut self, patience: Duration) -> Result<Option<(usize, Element)>, String>;

    /// The questions to flush with: their answers come after all that is under way.
    fn flush(&self, actor: &Actor) -> Vec<Element>;

    /// How often to flush. Two rounds: what the first one brings (an answer about capabilities) may lead to something new.
    fn rounds(&self) -> u32 {
        2
    }

    /// Whether time is real here: then the runner flushes with the stanzas of [`Door::flush`].
    fn real_time(&self) -> bool;

    fn pass_time(&mut self, seconds: i64) -> Result<(), String>;

    /// Ends and starts the server; all sessions are gone, what is stored stays.
    fn restart(&mut self) -> Result<(), String>;

    /// `one` sees the presence of `other`; both accounts are on the server.
    fn share_presence(&mut self, one: &Actor, other: &Actor) -> Result<(), String>;

    /// The script is over.
    fn end(&mut self) {}
}
