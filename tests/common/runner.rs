//! Plays one script through one door.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sha1::{Digest as _, Sha1};

use super::compare::{self, Variables};
use super::door::Door;
use super::script::{Action, Actor, Script};
use super::xml::Element;

const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
const CAPS: &str = "http://jabber.org/protocol/caps";
/// How long a live door may take for one stanza.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a live door is left alone before silence counts.
const QUIET: Duration = Duration::from_millis(15);

/// Plays `script`; the error names line and difference.
pub(crate) fn play(script: &Script, door: &mut dyn Door) -> Result<(), String> {
    door.begin(script)?;
    let result = Play::new(script, door).all();
    door.end();
    result
}

struct Play<'a> {
    script: &'a Script,
    door: &'a mut dyn Door,
    inboxes: Vec<VecDeque<Element>>,
    online: Vec<bool>,
    variables: Variables,
    flushes: u32,
    /// Who sent last, if nobody has received anything since.
    spoke: Option<usize>,
}

impl<'a> Play<'a> {
    fn new(script: &'a Script, door: &'a mut dyn Door) -> Self {
        let mut variables = Variables::new();
        for actor in &script.actors {
            variables.insert(format!("{}'s JID", actor.name), actor.jid.clone());
            variables.insert(format!("{}'s full JID", actor.name), actor.full_jid());
            variables.insert(format!("{}'s caps", actor.name), caps_hash(actor));
        }
        let count = script.actors.len();
        Self {
            script,
            door,
            inboxes: vec![VecDeque::new(); count],
            online: vec![false; count],
            variables,
            flushes: 0,
            spoke: None,
        }
    }

    fn all(&mut self) -> Result<(), String> {
        for step in &self.script.steps {
            self.step(&step.action).map_err(|why| format!("line {}: {why}", step.line))?;
        }
        self.settle().map_err(|why| format!("at the end: {why}"))?;
        let left: Vec<String> = (0..self.inboxes.len()).filter_map(|actor| self.leftovers(actor)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("at the end: {}", left.join("\n"))) }
    }

    fn actor(&self, index: usize) -> &'a Actor {
        &self.script.actors[index]
    }

    fn step(&mut self, action: &Action) -> Result<(), String> {
        match action {
            Action::Connects(index) => {
                self.connect(*index)?;
                if !self.actor(*index).component {
                    self.door.send(*index, &initial_presence(self.actor(*index)))?;
                    self.settle()?;
                }
                Ok(())
            }
            Action::LogsIn(index) => self.connect(*index),
            Action::Disconnects(index) => {
                self.settle()?;
                self.online[*index] = false;
                self.door.disconnect(*index)?;
                self.settle()
            }
            Action::Sends(index, stanzas) => {
                self.must_be_online(*index)?;
                // Streams are not in step with each other: what somebody else sent has to be through first.
                if self.spoke.replace(*index).is_some_and(|last| last != *index) {
                    self.settle()?;
                }
                for stanza in stanzas {
                    let stanza = compare::substitute(stanza, &self.variables)?;
                    self.door.send(*index, &stanza)?;
                }
                self.pump(Duration::ZERO).map(|_| ())
            }
            Action::Receives { actor, expected, any_order } => self.receives(*actor, expected, *any_order),
            Action::ReceivesNothing(index) => {
                self.settle()?;
                self.leftovers(*index).map_or(Ok(()), Err)
            }
            Action::TimePasses(seconds) => {
                self.settle()?;
                self.door.pass_time(*seconds)?;
                self.settle()
            }
            Action::ServerRestarts => {
                self.settle()?;
                self.door.restart()?;
                self.online.fill(false);
                Ok(())
            }
            Action::Contacts(one, other) => {
                self.door.share_presence(self.actor(*one), self.actor(*other))?;
                self.door.share_presence(self.actor(*other), self.actor(*one))
            }
            Action::SeesPresence(one, other) => self.door.share_presence(self.actor(*one), self.actor(*other)),
        }
    }

    fn connect(&mut self, index: usize) -> Result<(), String> {
        // What was said before has to be through: who comes later must not get it as well.
        self.settle()?;
        self.door.connect(index, self.actor(index))?;
        self.online[index] = true;
        Ok(())
    }

    fn must_be_online(&self, index: usize) -> Result<(), String> {
        if self.online[index] { Ok(()) } else { Err(format!("{} is not connected", self.actor(index).name)) }
    }

    /// Takes in what is there, answering capability queries on the way; says whether something came.
    fn pump(&mut self, patience: Duration) -> Result<bool, String> {
        let mut came = false;
        let mut patience = patience;
        while let Some((index, stanza)) = self.door.poll(patience)? {
            came = true;
            patience = Duration::ZERO;
            match capabilities_answer(self.actor(index), &stanza) {
                Some(answer) if self.online[index] => self.door.send(index, &answer)?,
                _ => self.inboxes[index].push_back(stanza),
            }
        }
        Ok(came)
    }

    /// Until nothing is under way any more.
    fn settle(&mut self) -> Result<(), String> {
        if !self.door.real_time() {
            while self.pump(Duration::ZERO)? {}
            return Ok(());
        }
        for _ in 0..self.door.rounds() {
            let mut awaited = Vec::new();
            for index in 0..self.online.len() {
                if !self.online[index] {
                    continue;
                }
                for mut question in self.door.flush(self.actor(index)) {
                    self.flushes += 1;
                    let id = format!("flush-{}", self.flushes);
                    question.set("id", &id);
                    self.door.send(index, &question)?;
                    awaited.push((index, id, question.get("to").unwrap_or_default().to_owned()));
                }
            }
            let deadline = Instant::now() + PATIENCE;
            for (index, id, asked) in awaited {
                let is_answer =
                    |stanza: &Element| stanza.name == "iq" && stanza.get("id").is_some_and(|other| other == id);
                loop {
                    if let Some(at) = self.inboxes[index].iter().position(is_answer) {
                        self.inboxes[index].remove(at);
                        break;
                    }
                    if Instant::now() > deadline {
                        return Err(format!("{asked} does not answer {} any more", self.actor(index).name));
                    }
                    self.pump(Duration::from_millis(200))?;
                }
            }
            self.pump(QUIET)?;
        }
        Ok(())
    }

    fn is_bystander(&self, stanza: &Element) -> bool {
        self.script.ignores.contains(&stanza.name)
    }

    /// Takes the first `count` stanzas that are not of an ignored kind, unless that kind is expected.
    fn take(&mut self, index: usize, count: usize, kinds: &[&str]) -> Result<Vec<Element>, String> {
        let deadline = Instant::now() + PATIENCE;
        let mut taken = Vec::new();
        loop {
            while taken.len() < count {
                let position = self.inboxes[index].iter().position(|stanza| {
                    if kinds.iter().all(|kind| self.script.ignores.iter().any(|ignored| ignored == kind)) {
                        kinds.contains(&stanza.name.as_str())
                    } else {
                        kinds.contains(&stanza.name.as_str()) || !self.is_bystander(stanza)
                    }
                });
                match position.and_then(|at| self.inboxes[index].remove(at)) {
                    Some(stanza) => taken.push(stanza),
                    None => break,
                }
            }
            let came =
                taken.len() < count && self.pump(Duration::from_millis(if self.door.real_time() { 100 } else { 0 }))?;
            if taken.len() == count || (!came && (!self.door.real_time() || Instant::now() > deadline)) {
                return Ok(taken);
            }
        }
    }

    fn receives(&mut self, index: usize, expected: &[Element], any_order: bool) -> Result<(), String> {
        self.must_be_online(index)?;
        if self.spoke == Some(index) {
            self.spoke = None;
        }
        let name = &self.actor(index).name;
        let kinds: Vec<&str> = expected.iter().map(|stanza| stanza.name.as_str()).collect();
        let got = self.take(index, expected.len(), &kinds)?;
        let shown = |stanzas: &[Element]| -> String {
            if stanzas.is_empty() {
                return "nothing".to_owned();
            }
            stanzas.iter().map(Element::pretty).collect::<Vec<_>>().join("\n")
        };
        let mut missing = None;
        let failure = if any_order {
            let result = compare::assign(expected, &got, &mut self.variables);
            result.err().map(|(at, why)| format!("stanza {} of the block: {why}", at + 1))
        } else {
            let mut result = None;
            for (want, stanza) in expected.iter().zip(&got) {
                if let Err(why) = compare::compare(want, stanza, &mut self.variables) {
                    result = Some(why);
                    break;
                }
            }
            result
        };
        if got.len() < expected.len() {
            missing = Some(format!("{} stanza(s) of {} came", got.len(), expected.len()));
        }
        let Some(difference) = failure.or(missing) else { return Ok(()) };
        let wanted: Vec<Element> = expected
            .iter()
            .map(|stanza| compare::substitute(stanza, &self.variables).unwrap_or_else(|_| stanza.clone()))
            .collect();
        let rest: Vec<Element> = self.inboxes[index].iter().cloned().collect();
        Err(format!(
            "{name} expected\n{}\n-- got\n{}\n-- difference: {difference}\n-- left in the inbox: {}",
            shown(&wanted),
            shown(&got),
            shown(&rest)
        ))
    }

    fn leftovers(&self, index: usize) -> Option<String> {
        let left: Vec<String> =
            self.inboxes[index].iter().filter(|stanza| !self.is_bystander(stanza)).map(Element::pretty).collect();
        let name = &self.actor(index).name;
        (!left.is_empty()).then(|| format!("{name} got what was not expected\n{}", left.join("\n")))
    }
}

/// Presence with the capabilities that the script gives the client.
fn initial_presence(actor: &Actor) -> Element {
    let presence = Element::stanza("presence");
    if actor.features.is_empty() {
        return presence;
    }
    let caps = Element::new(CAPS, "c").with("hash", "sha-1").with("node", &actor.caps).with("ver", &caps_hash(actor));
    presence.with_child(caps)
}

/// The verification string of XEP-0115 5.1, hashed.
fn caps_hash(actor: &Actor) -> String {
    use base64::Engine as _;
    let mut features = actor.features.clone();
    features.sort();
    features.dedup();
    let mut text = "client/pc//pam_pps test<".to_owned();
    for feature in features {
        text.push_str(&feature);
        text.push('<');
    }
    base64::engine::general_purpose::STANDARD.encode(Sha1::digest(text.as_bytes()))
}

/// A client with declared features answers for them itself, so that scripts need not.
fn capabilities_answer(actor: &Actor, stanza: &Element) -> Option<Element> {
    if actor.component || actor.features.is_empty() || stanza.name != "iq" || stanza.get("type") != Some("get") {
        return None;
    }
    let query = stanza.child(DISCO_INFO, "query")?;
    let mut answer = Element::new(DISCO_INFO, "query");
    if let Some(node) = query.get("node") {
        answer.set("node", node);
    }
    let identity =
        Element::new(DISCO_INFO, "identity").with("category", "client").with("type", "pc").with("name", "pam_pps test");
    answer = answer.with_child(identity);
    let mut features = actor.features.clone();
    features.sort();
    features.dedup();
    for feature in features {
        answer = answer.with_child(Element::new(DISCO_INFO, "feature").with("var", &feature));
    }
    Some(stanza.reply("result").with_child(answer))
}
