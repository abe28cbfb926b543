//! Reads a `.scs` file. The language is described in `tests/scenarios/README.md`.

use std::collections::BTreeMap;

use super::xml::{self, Element};

/// One scenario.
#[derive(Debug)]
pub(crate) struct Script {
    /// Folder and file, as shown in reports: `0163/auto-create`.
    pub(crate) name: String,
    pub(crate) covers: Vec<String>,
    pub(crate) needs: BTreeMap<String, String>,
    /// The doors that can run it, if not all of them.
    pub(crate) doors: Option<Vec<String>>,
    /// Why it cannot be played with the people on two servers.
    pub(crate) one_server: Option<String>,
    /// Kinds of stanzas that may be left over.
    pub(crate) ignores: Vec<String>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) steps: Vec<Step>,
}

/// A client or a component that the script speaks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Actor {
    pub(crate) name: String,
    pub(crate) component: bool,
    /// Bare JID of a client, domain of a component.
    pub(crate) jid: String,
    pub(crate) resource: String,
    pub(crate) password: String,
    /// Node of the capabilities, and the features they stand for; empty: no capabilities are shown.
    pub(crate) caps: String,
    pub(crate) features: Vec<String>,
}

impl Actor {
    pub(crate) fn full_jid(&self) -> String {
        if self.component { self.jid.clone() } else { format!("{}/{}", self.jid, self.resource) }
    }
}

#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) action: Action,
}

/// What a step does; actors by their index.
#[derive(Debug)]
pub(crate) enum Action {
    Connects(usize),
    LogsIn(usize),
    Disconnects(usize),
    Sends(usize, Vec<Element>),
    Receives {
        actor: usize,
        expected: Vec<Element>,
        any_order: bool,
    },
    ReceivesNothing(usize),
    TimePasses(i64),
    ServerRestarts,
    /// Both see each other's presence.
    Contacts(usize, usize),
    /// The first sees the presence of the second.
    SeesPresence(usize, usize),
}

impl Script {
    /// `name` is for messages; errors begin with the line.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let mut script = Self {
            name: name.to_owned(),
            covers: Vec::new(),
            // What the engine asks on its own would come into scripts that are about something else.
            needs: BTreeMap::from([("check_interval".to_owned(), "0".to_owned())]),
            doors: None,
            one_server: None,
            ignores: vec!["presence".to_owned()],
            actors: Vec::new(),
            steps: Vec::new(),
        };
        let lines: Vec<&str> = text.lines().collect();
        let mut at = 0;
        let mut titled = false;
        let mut in_steps = false;
        while at < lines.len() {
            let line = lines[at];
            let number = at + 1;
            at += 1;
            let fail = |what: String| format!("line {number}: {what}");
            if line.trim().is_empty() {
                continue;
            }
            if let Some(comment) = line.strip_prefix('#') {
                titled |= script.header(comment.trim()).map_err(fail)?;
                continue;
            }
            if line.starts_with("-----") {
                in_steps = true;
                continue;
            }
            if line.starts_with(char::is_whitespace) {
                return Err(fail("an indented line belongs to nothing".to_owned()));
            }
            let mut block = Vec::new();
            while at < lines.len() && (lines[at].starts_with(char::is_whitespace) || lines[at].trim().is_empty()) {
                block.push(lines[at]);
                at += 1;
            }
            if in_steps {
                let action = script.step(line.trim(), &block.join("\n")).map_err(fail)?;
                script.steps.push(Step { line: number, action });
            } else {
                let actor = declaration(line.trim(), &block).map_err(fail)?;
                script.actors.push(actor);
            }
        }
        if !titled {
            return Err("line 1: a title is missing (`# Title`)".to_owned());
        }
        if script.steps.is_empty() {
            return Err("there are no steps".to_owned());
        }
        Ok(script)
    }

    /// Reads one `#` line; says whether it is plain text.
    fn header(&mut self, comment: &str) -> Result<bool, String> {
        let Some((key, value)) = comment.split_once(':') else { return Ok(true) };
        let list = || value.split(',').map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
        match key {
            "covers" => self.covers.extend(list()),
            "needs" => {
                for pair in list() {
                    let (option, value) =
                        pair.split_once('=').ok_or_else(|| format!("`{pair}` is not option=value"))?;
                    self.needs.insert(option.trim().to_owned(), value.trim().replace("\\n", "\n"));
                }
            }
            "ignores" => self.ignores = list().collect(),
            "doors" => {
                let (doors, reason) = value.split_once("--").ok_or("`doors` wants ` -- reason`")?;
                if reason.trim().is_empty() {
                    return Err("`doors` wants a reason".to_owned());
                }
                self.doors = Some(doors.split(',').map(|door| door.trim().to_owned()).collect());
            }
            "one server" if value.trim().is_empty() => return Err("`one server` wants a reason".to_owned()),
            "one server" => self.one_server = Some(value.trim().to_owned()),
            _ => return Ok(true),
        }
        Ok(false)
    }

    fn actor(&self, name: &str) -> Result<usize, String> {
        self.actors.iter().position(|actor| actor.name == name).ok_or_else(|| format!("`{name}` was not declared"))
    }

    fn step(&self, line: &str, block: &str) -> Result<Action, String> {
        let without_block = |action: Action| {
            if block.trim().is_empty() { Ok(action) } else { Err("this step takes no stanza".to_owned()) }
        };
        if line == "Server restarts" {
            return without_block(Action::ServerRestarts);
        }
        if let Some(time) = line.strip_prefix("Time passes:") {
            return without_block(Action::TimePasses(duration(time)?));
        }
        if let Some(names) = line.strip_suffix(" are contacts") {
            let (one, other) = names.split_once(" and ").ok_or("`A and B are contacts` is meant?")?;
            return without_block(Action::Contacts(self.actor(one)?, self.actor(other)?));
        }
        if let Some((one, other)) = line.split_once(" sees the presence of ") {
            return without_block(Action::SeesPresence(self.actor(one)?, self.actor(other)?));
        }
        // The longest name wins: there may be a Romeo and a Romeo's phone.
        let actor = (0..self.actors.len())
            .filter(|&index| {
                line.strip_prefix(self.actors[index].name.as_str()).is_some_and(|rest| rest.starts_with(' '))
            })
            .max_by_key(|&index| self.actors[index].name.len())
            .ok_or_else(|| format!("no declared name begins `{line}`"))?;
        let verb = line[self.actors[actor].name.len()..].trim();
        let stanzas = || {
            let mut found = xml::parse_stanzas(block)?;
            found.iter_mut().for_each(Element::drop_indentation);
            if found.is_empty() { Err("a stanza is missing".to_owned()) } else { Ok(found) }
        };
        match verb {
            "connects" => without_block(Action::Connects(actor)),
            "logs in" => without_block(Action::LogsIn(actor)),
            "disconnects" => without_block(Action::Disconnects(actor)),
            "receives nothing" => without_block(Action::ReceivesNothing(actor)),
            "sends:" => Ok(Action::Sends(actor, stanzas()?)),
            "receives:" => Ok(Action::Receives { actor, expected: stanzas()?, any_order: false }),
            "receives, in any order:" => Ok(Action::Receives { actor, expected: stanzas()?, any_order: true }),
            _ => Err(format!("`{verb}` is no step")),
        }
    }
}

fn declaration(line: &str, block: &[&str]) -> Result<Actor, String> {
    let (kind, name) =
        line.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or("`[Client] Name` is meant?")?;
    let component = match kind {
        "Client" => false,
        "Component" => true,
        _ => return Err(format!("`[{kind}]` is neither [Client] nor [Component]")),
    };
    let mut actor = Actor {
        name: name.trim().to_owned(),
        component,
        resource: name.trim().to_lowercase().replace([' ', '\''], "-"),
        password: "password".to_owned(),
        caps: "https://client.example".to_owned(),
        ..Actor::default()
    };
    for line in block.iter().map(|line| line.trim()).filter(|line| !line.is_empty()) {
        let (key, value) = line.split_once(':').ok_or_else(|| format!("`{line}` is not key: value"))?;
        let value = value.trim();
        match key {
            "jid" => match value.split_once('/') {
                Some((bare, resource)) => (actor.jid, actor.resource) = (bare.to_owned(), resource.to_owned()),
                None => actor.jid = value.to_owned(),
            },
            "resource" => actor.resource = value.to_owned(),
            "password" => actor.password = value.to_owned(),
            "caps" => actor.caps = value.to_owned(),
            "features" => {
                let found = value.split([',', ' ']).map(str::trim).filter(|feature| !feature.is_empty());
                actor.features.extend(found.map(str::to_owned));
            }
            _ => return Err(format!("`{key}` is not known here")),
        }
    }
    if actor.jid.is_empty() {
        return Err(format!("{} has no jid", actor.name));
    }
    Ok(actor)
}

fn duration(text: &str) -> Result<i64, String> {
    let mut words = text.split_whitespace();
    let count: i64 = words.next().and_then(|word| word.parse().ok()).ok_or("how long?")?;
    let unit = match words.next().map(|unit| unit.trim_end_matches('s')) {
        None | Some("second") => 1,
        Some("minute") => 60,
        Some("hour") => 3_600,
        Some("day") => 86_400,
        Some(unit) => return Err(format!("`{unit}` is no unit of time")),
    };
    Ok(count * unit)
}
