//! The tables in the README say what the code says, and its example in C compiles.
//!
//! `UPDATE=1 cargo test --test docs` writes the tables.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::{env, fs};

use pam_pps::config::{OPTIONS, OptionInfo};
use pam_pps::xep::documents;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Where the text between two marks of the README begins and ends.
fn between(text: &str, mark: &str) -> (usize, usize) {
    let begin = text.find(&format!("<!-- {mark}:")).expect("the mark is in the README");
    let begin = begin + text[begin..].find('\n').expect("text follows the mark") + 1;
    let end = text.find(&format!("<!-- /{mark} -->")).expect("the end mark is in the README");
    (begin, end)
}

/// Compares what stands between two marks of the README, or writes it there.
fn compare(mark: &str, wanted: &str) {
    // Tests run side by side, and two of them may write.
    static FILE: Mutex<()> = Mutex::new(());
    let _file = FILE.lock();
    let text = read("README.md");
    let (begin, end) = between(&text, mark);
    if env::var_os("UPDATE").is_some() {
        fs::write(root().join("README.md"), format!("{}{wanted}{}", &text[..begin], &text[end..])).expect("written");
    } else {
        assert_eq!(&text[begin..end], wanted, "the table is stale: UPDATE=1 cargo test --test docs");
    }
}

#[test]
fn table_of_documents() {
    let mut all: Vec<_> = documents().collect();
    all.sort_by_key(|document| document.number);
    let mut table = String::from("| XEP | Title | Version | | What there is |\n| --- | --- | --- | --- | --- |\n");
    for document in all {
        let state = if document.complete { "complete" } else { "in part" };
        let link = format!("[{0}](https://xmpp.org/extensions/xep-{0}.html)", document.number);
        writeln!(table, "| {link} | {} | {} | {state} | {} |", document.title, document.version, document.notes)
            .expect("a string takes everything");
    }
    compare("documents", &table);
}

#[test]
fn ejabberds_module_names_the_documents() {
    let module = read("erlang/src/mod_pam_pps.erl");
    let named: Vec<_> = module.lines().filter(|line| line.starts_with("-protocol(")).map(str::to_owned).collect();
    let mut all: Vec<_> = documents().collect();
    all.sort_by_key(|document| document.number);
    let wanted: Vec<_> = all
        .iter()
        .map(|document| {
            format!("-protocol({{xep, {}, '{}'}}).", document.number.trim_start_matches('0'), document.version)
        })
        .collect();
    assert_eq!(named, wanted);
}

/// What stands between a name and the brace that closes its table, in the Lua module's list of options.
fn lua_table<'t>(text: &'t str, name: &str) -> &'t str {
    let begin = text.find(&format!("{name} = {{")).unwrap_or_else(|| panic!("options.lib.lua has no {name}"));
    let end = text[begin..].find("};").or_else(|| text[begin..].find("}\n")).expect("the table ends");
    &text[begin..begin + end]
}

/// What an option is called in `prosody.cfg.lua`.
fn in_prosody(option: &OptionInfo, lua: &str) -> String {
    let quoted = format!("\"{}\"", option.name);
    let assigned = format!("{} = \"", option.name);
    let list = if option.per_service { "of_service" } else { "of_engine" };
    let mut names = Vec::new();
    if lua_table(lua, list).contains(&quoted) {
        names.push(format!("`pam_pps_{}`", option.name));
    }
    let plain = lua_table(lua, "component");
    if plain.split_whitespace().collect::<Vec<_>>().join(" ").contains(&assigned) {
        names.push(format!("`{}`", option.name));
    }
    if option.name == "max_items" {
        let old: Vec<_> = ["pep_max_items", "pubsub_max_items"].into_iter().filter(|name| lua.contains(name)).collect();
        names.extend(old.into_iter().map(|name| format!("`{name}`")));
    }
    names.join(", ")
}

/// The names in one of the lists of ejabberd's module.
fn erlang_list(text: &str, name: &str) -> Vec<String> {
    let begin = text.find(&format!("-define({name},")).unwrap_or_else(|| panic!("pam_pps_options.erl has no {name}"));
    let begin = begin + text[begin..].find('[').expect("a list begins") + 1;
    let end = begin + text[begin..].find(']').expect("the list ends");
    text[begin..end].split(',').map(|name| name.trim().to_owned()).collect()
}

/// What an option is called under `mod_pam_pps:` in `ejabberd.yml`.
fn in_ejabberd(option: &OptionInfo, erlang: &str) -> String {
    let lists = if option.per_service { &["OF_ACCOUNTS", "OF_SERVICES", "OF_ROOMS"][..] } else { &["OF_ENGINE"] };
    let known = |list: &&str| erlang_list(erlang, list).iter().any(|name| name == option.name);
    let mut names = Vec::new();
    if lists.iter().any(known) {
        names.push(format!("`{}`", option.name));
    }
    if option.name == "max_items" {
        names.push("`max_items_node`".to_owned());
    }
    names.join(", ")
}

#[test]
fn table_of_options() {
    let lua = read("lua/pam_pps/options.lib.lua");
    let erlang = read("erlang/src/pam_pps_options.erl");
    let mut table = String::new();
    for (title, per_service) in [("Of the engine", false), ("Of a host or component", true)] {
        let gap = if per_service { "\n" } else { "" };
        writeln!(table, "{gap}| {title} | Prosody | ejabberd | Default | Meaning |\n| --- | --- | --- | --- | --- |")
            .expect("as above");
        for option in OPTIONS.iter().filter(|option| option.per_service == per_service) {
            let default = if option.default.is_empty() { String::new() } else { format!("`{}`", option.default) };
            let meaning = option.meaning.replace('|', "\\|");
            let (prosody, ejabberd) = (in_prosody(option, &lua), in_ejabberd(option, &erlang));
            writeln!(table, "| `{}` | {prosody} | {ejabberd} | {default} | {meaning} |", option.name)
                .expect("as above");
        }
    }
    compare("options", &table);
}

#[test]
fn every_option_of_the_module_is_one_of_the_engine() {
    let lua = read("lua/pam_pps/options.lib.lua");
    for list in ["of_engine", "of_service"] {
        for name in lua_table(&lua, list).split('"').skip(1).step_by(2) {
            assert!(
                OPTIONS.iter().any(|option| option.name == name && option.per_service == (list == "of_service")),
                "{list} has {name}, the engine has not"
            );
        }
    }
}

#[test]
fn both_servers_have_the_same_options() {
    let lua = read("lua/pam_pps/options.lib.lua");
    let erlang = read("erlang/src/pam_pps_options.erl");
    let lists = ["OF_ENGINE", "OF_ACCOUNTS", "OF_SERVICES", "OF_ROOMS"];
    let mut known: Vec<_> = lists.iter().flat_map(|list| erlang_list(&erlang, list)).collect();
    for list in ["of_engine", "of_service"] {
        for name in lua_table(&lua, list).split('"').skip(1).step_by(2) {
            assert!(known.iter().any(|known| known == name), "{name} is an option in Prosody alone");
        }
    }
    known.sort();
    for name in known {
        assert!(OPTIONS.iter().any(|option| option.name == name), "ejabberd's module has {name}, the engine has not");
    }
}

#[test]
fn links_lead_to_files() {
    let text = read("README.md");
    for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(target.starts_with("https://") || root().join(target).exists(), "{target} is not there");
    }
}

#[test]
fn the_example_in_c_compiles() {
    let text = read("README.md");
    let begin = text.find("```c\n").expect("there is an example") + 5;
    let code = &text[begin..begin + text[begin..].find("```").expect("it ends")];
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("readme.c");
    fs::write(&file, code).expect("the build folder can be written");
    let compiler = env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"])
        .arg(root().join("include"))
        .arg(&file)
        .status()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    assert!(status.success(), "see the messages of the compiler");
}
