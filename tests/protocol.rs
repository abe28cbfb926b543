//! The exchanges in docs/protocol.md are those of the scenarios.
//!
//! `<!-- exchange: 0376/remote-service 4-8 -->` stands for these steps of that scenario, counted from the line of dashes;
//! `UPDATE=1 cargo test --test protocol` writes what they send and receive below it, up to `<!-- /exchange -->`.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::{env, fs};

const BEGIN: &str = "<!-- exchange: ";
const END: &str = "<!-- /exchange -->";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is written in the place of a marker.
fn exchange(marker: &str) -> String {
    let (name, steps) = marker.rsplit_once(' ').unwrap_or_else(|| panic!("`{marker}` names no steps"));
    let (first, last) = steps.split_once('-').unwrap_or((steps, steps));
    let number = |text: &str| text.parse::<usize>().unwrap_or_else(|_| panic!("`{marker}`: {text} is no number"));
    let scenario = read(&root().join("tests/scenarios").join(name).with_extension("scs"));
    let blocks = blocks(&scenario, number(first)..=number(last));
    assert!(!blocks.is_empty(), "`{marker}`: these steps send and receive nothing");
    format!("```xml\n{}\n```\n", blocks.join("\n\n"))
}

/// The chosen steps that have stanzas, with who sends or receives them.
fn blocks(scenario: &str, chosen: RangeInclusive<usize>) -> Vec<String> {
    let (header, steps) = scenario.split_once("\n-----").expect("a line of dashes stands before the steps");
    let mut found: Vec<String> = Vec::new();
    let mut number = 0;
    let mut open = false;
    for line in steps.lines().skip(1) {
        if line.starts_with('#') || line.trim().is_empty() {
            continue;
        }
        if !line.starts_with('\t') {
            number += 1;
            open = chosen.contains(&number) && line.ends_with(':');
            if open {
                found.push(format!("<!-- {line} -->"));
            }
        } else if let (true, Some(block)) = (open, found.last_mut()) {
            let text = plain(header, line.strip_prefix('\t').unwrap_or(line));
            write!(block, "\n{}", text.replace('\t', "  ")).expect("a string takes everything");
        }
    }
    assert!(number >= *chosen.end(), "there are {number} steps only");
    found
}

/// A line without what is for the comparison only.
fn plain(header: &str, line: &str) -> String {
    let mut line = line.replace(" scansion:strict='no'", "").replace(" scansion:order='any'", "");
    line = line.replace("{scansion:any}", "…");
    for (begin, end) in [("{capture:", "}"), ("${", "}")] {
        while let Some(at) = line.find(begin) {
            let rest = &line[at + begin.len()..];
            let name = &rest[..rest.find(end).expect("it ends")];
            let value =
                name.split_once("'s ").map_or_else(|| name.to_owned(), |(actor, what)| jid_of(header, actor, what));
            line = format!("{}{value}{}", &line[..at], &rest[name.len() + end.len()..]);
        }
    }
    line
}

/// The JID of somebody who takes part.
fn jid_of(header: &str, actor: &str, what: &str) -> String {
    let (_, after) = header.split_once(&format!("] {actor}\n")).unwrap_or_else(|| panic!("{actor} is not declared"));
    let (_, after) = after.split_once("jid: ").expect("everybody has a JID");
    let jid = after.lines().next().unwrap_or_default();
    let (bare, resource) =
        jid.split_once('/').map_or((jid, actor.to_lowercase()), |(bare, resource)| (bare, resource.into()));
    if what == "full JID" { format!("{bare}/{resource}") } else { bare.to_owned() }
}

#[test]
fn exchanges_are_those_of_the_scenarios() {
    let path: PathBuf = root().join("docs/protocol.md");
    let text = read(&path);
    let mut wanted = String::new();
    let mut rest = text.as_str();
    let mut count = 0;
    while let Some(at) = rest.find(BEGIN) {
        let begin = at + rest[at..].find('\n').expect("a marker has a line of its own") + 1;
        let marker = rest[at + BEGIN.len()..begin].trim_end().strip_suffix(" -->").expect("a marker ends");
        let end = begin + rest[begin..].find(END).unwrap_or_else(|| panic!("`{marker}` has no end"));
        wanted.push_str(&rest[..begin]);
        wanted.push_str(&exchange(marker));
        rest = &rest[end..];
        count += 1;
    }
    wanted.push_str(rest);
    assert!(count > 20, "{count} exchanges only");
    assert!(!wanted.contains("scansion:"), "something of the comparison is left");
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, wanted).expect("written");
    } else {
        assert!(text == wanted, "docs/protocol.md is stale: UPDATE=1 cargo test --test protocol");
    }
}

#[test]
fn links_inside_lead_somewhere() {
    let text = read(&root().join("docs/protocol.md"));
    let anchors: Vec<String> = text.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    for target in text.split("](#").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(anchors.iter().any(|anchor| anchor == target), "#{target} is no heading");
    }
}

/// The anchor of a heading.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
}
