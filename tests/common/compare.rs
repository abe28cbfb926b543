//! Compares what came with what a script expects.

use std::collections::BTreeMap;

use super::xml::{CLIENT, Element, SCANSION, STANZAS};

/// Names and values of `${...}`.
pub(crate) type Variables = BTreeMap<String, String>;

/// Replaces each `${name}` in attributes and text.
pub(crate) fn substitute(element: &Element, variables: &Variables) -> Result<Element, String> {
    let mut out = element.clone();
    for value in out.attributes.values_mut() {
        *value = substitute_text(value, variables)?;
    }
    for node in &mut out.nodes {
        match node {
            super::xml::Node::Element(child) => *child = substitute(child, variables)?,
            super::xml::Node::Text(text) => *text = substitute_text(text, variables)?,
        }
    }
    Ok(out)
}

fn substitute_text(text: &str, variables: &Variables) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').ok_or_else(|| format!("`${{` is not closed in `{text}`"))?;
        let value = variables.get(name).ok_or_else(|| format!("the variable `{name}` has no value"))?;
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Says what differs first. Captures are written to `variables` on success only.
pub(crate) fn compare(expected: &Element, actual: &Element, variables: &mut Variables) -> Result<(), String> {
    let mut captured = variables.clone();
    let expected = substitute(expected, variables)?;
    element(&expected, actual, &mut captured, true)?;
    *variables = captured;
    Ok(())
}

fn mode<'a>(expected: &'a Element, name: &str) -> Option<&'a str> {
    expected.attributes.get(&(SCANSION.to_owned(), name.to_owned())).map(String::as_str)
}

fn element(expected: &Element, actual: &Element, variables: &mut Variables, root: bool) -> Result<(), String> {
    if (&expected.ns, &expected.name) != (&actual.ns, &actual.name) {
        let (ns, name) = (&expected.ns, &expected.name);
        return Err(format!("expected <{name} xmlns='{ns}'/>, got <{} xmlns='{}'/>", actual.name, actual.ns));
    }
    let open = mode(expected, "strict") == Some("no");
    attributes(expected, actual, variables, root, open)?;
    text(expected, actual, variables, open)?;
    children(expected, actual, variables, open)
}

fn attributes(
    expected: &Element,
    actual: &Element,
    variables: &mut Variables,
    root: bool,
    open: bool,
) -> Result<(), String> {
    for ((ns, name), pattern) in expected.attributes.iter().filter(|((ns, _), _)| ns != SCANSION) {
        let found = actual.attributes.get(&(ns.clone(), name.clone()));
        let type_default = (root && actual.name == "message" && name == "type").then_some("normal");
        match found.map(String::as_str).or(type_default) {
            None if pattern == "{scansion:none}" => {}
            None => return Err(format!("<{}/> lacks {name}='{pattern}'", expected.name)),
            Some(value) => {
                value_matches(pattern, value, variables).map_err(|why| format!("<{} {name}/>: {why}", expected.name))?
            }
        }
    }
    if open {
        return Ok(());
    }
    for ((ns, name), value) in &actual.attributes {
        let stamped = root && ["id", "to", "from", "lang"].contains(&name.as_str());
        let default = root && actual.name == "message" && name == "type" && value == "normal";
        if !stamped && !default && !expected.attributes.contains_key(&(ns.clone(), name.clone())) {
            return Err(format!("<{}/> has {name}='{value}', which is not expected", actual.name));
        }
    }
    Ok(())
}

fn text(expected: &Element, actual: &Element, variables: &mut Variables, open: bool) -> Result<(), String> {
    let tidy = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, value) = (tidy(expected.text()), tidy(actual.text()));
    if open && pattern.is_empty() {
        return Ok(());
    }
    value_matches(&pattern, &value, variables).map_err(|why| format!("text of <{}/>: {why}", expected.name))
}

fn children(expected: &Element, actual: &Element, variables: &mut Variables, open: bool) -> Result<(), String> {
    let is_absent = |child: &&Element| mode(child, "absent") == Some("yes");
    let wanted: Vec<&Element> = expected.children().filter(|child| !is_absent(child)).collect();
    let mut given: Vec<&Element> = actual.children().collect();
    // A text for people may come with every error; a script that does not speak of it accepts any.
    if actual.is(CLIENT, "error") && expected.child(STANZAS, "text").is_none() {
        given.retain(|child| !child.is(STANZAS, "text"));
    }
    for absent in expected.children().filter(is_absent) {
        let mut bare = absent.clone();
        bare.attributes.remove(&(SCANSION.to_owned(), "absent".to_owned()));
        if given.iter().any(|child| element(&bare, child, &mut variables.clone(), false).is_ok()) {
            return Err(format!("<{}/> must not have {}", actual.name, bare.write(&actual.ns)));
        }
    }
    if open || mode(expected, "order") == Some("any") {
        for want in &wanted {
            let mut nearest = None;
            let hit = given.iter().position(|child| {
                let mut tried = variables.clone();
                match element(want, child, &mut tried, false) {
                    Ok(()) => {
                        *variables = tried;
                        true
                    }
                    Err(why) => {
                        if child.is(&want.ns, &want.name) {
                            nearest.get_or_insert(why);
                        }
                        false
                    }
                }
            });
            match hit {
                Some(index) => given.remove(index),
                None => {
                    let why = nearest.map(|why| format!(" ({why})")).unwrap_or_default();
                    return Err(format!("<{}/> lacks {}{why}", actual.name, want.write(&expected.ns)));
                }
            };
        }
        return match given.first() {
            Some(extra) if !open => Err(format!("<{}/> has an unexpected {}", actual.name, extra.write(&actual.ns))),
            _ => Ok(()),
        };
    }
    for (index, want) in wanted.iter().enumerate() {
        match given.get(index) {
            Some(child) => element(want, child, variables, false)?,
            None => return Err(format!("<{}/> lacks {}", actual.name, want.write(&expected.ns))),
        }
    }
    match given.get(wanted.len()) {
        Some(extra) => Err(format!("<{}/> has an unexpected {}", actual.name, extra.write(&actual.ns))),
        None => Ok(()),
    }
}

/// `{scansion:any}` stands for any text, `{capture:name}` for any text that is then remembered.
fn value_matches(pattern: &str, value: &str, variables: &mut Variables) -> Result<(), String> {
    let differs = || format!("expected `{pattern}`, got `{value}`");
    let mut rest = value;
    let mut pattern_rest = pattern;
    loop {
        let Some((literal, capture, after)) = next_wildcard(pattern_rest) else {
            return if rest == pattern_rest { Ok(()) } else { Err(differs()) };
        };
        rest = rest.strip_prefix(literal).ok_or_else(differs)?;
        // The wildcard reaches up to the next literal piece, or to the end.
        let next_literal = next_wildcard(after).map_or(after, |(literal, ..)| literal);
        let end = if next_literal.is_empty() {
            rest.len()
        } else if after == next_literal {
            rest.len().checked_sub(next_literal.len()).ok_or_else(differs)?
        } else {
            rest.find(next_literal).ok_or_else(differs)?
        };
        let taken = rest.get(..end).ok_or_else(differs)?;
        if let Some(name) = capture {
            variables.insert(name.to_owned(), taken.to_owned());
        }
        rest = &rest[end..];
        pattern_rest = after;
    }
}

fn next_wildcard(pattern: &str) -> Option<(&str, Option<&str>, &str)> {
    const ANY: &str = "{scansion:any}";
    const CAPTURE: &str = "{capture:";
    let at = [pattern.find(ANY), pattern.find(CAPTURE)].into_iter().flatten().min()?;
    let (literal, found) = pattern.split_at(at);
    if let Some(after) = found.strip_prefix(ANY) {
        return Some((literal, None, after));
    }
    let (name, after) = found.strip_prefix(CAPTURE)?.split_once('}')?;
    Some((literal, Some(name), after))
}

/// Finds for each expectation a stanza of its own, in any order; says what differs if there is none.
pub(crate) fn assign(
    expected: &[Element],
    actual: &[Element],
    variables: &mut Variables,
) -> Result<(), (usize, String)> {
    fn place(
        expected: &[Element],
        at: usize,
        actual: &[Element],
        used: &mut Vec<bool>,
        variables: &Variables,
    ) -> Result<Variables, (usize, String)> {
        let Some(want) = expected.get(at) else { return Ok(variables.clone()) };
        let mut failure: Option<(usize, String)> = None;
        for (index, stanza) in actual.iter().enumerate() {
            if used[index] {
                continue;
            }
            let mut tried = variables.clone();
            let why = match compare(want, stanza, &mut tried) {
                Ok(()) => {
                    used[index] = true;
                    match place(expected, at + 1, actual, used, &tried) {
                        Ok(done) => return Ok(done),
                        Err(why) => {
                            used[index] = false;
                            why
                        }
                    }
                }
                Err(why) => (at, format!("stanza {}: {why}", index + 1)),
            };
            // The deepest failure tells most.
            match &mut failure {
                Some((depth, text)) if *depth == why.0 => *text = format!("{text}; {}", why.1),
                Some((depth, _)) if *depth > why.0 => {}
                _ => failure = Some(why),
            }
        }
        Err(failure.unwrap_or((at, "no stanza is left for it".to_owned())))
    }
    *variables = place(expected, 0, actual, &mut vec![false; actual.len()], variables)?;
    Ok(())
}
