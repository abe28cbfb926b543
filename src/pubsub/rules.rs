//! Settings for nodes by their names: the options `default_node_config` and `force_node_config`.
//!
//! The text has a line `name=value` for each setting, with the names of [`FIELDS`](super::config::FIELDS); several lines
//! of one name are several values. A line `[pattern]` says that what follows is for the nodes whose names fit, with `*`
//! for any text and `?` for any character; what stands before the first such line is for all nodes. Of the patterns that
//! fit, the first one counts.

use super::NodeConfig;
use super::config::{FIELDS, Field};

/// Settings, each for some nodes.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    common: Settings,
    by_name: Vec<(Vec<char>, Settings)>,
}

/// Fields with their values as text.
type Settings = Vec<(&'static Field, Vec<String>)>;

impl Rules {
    /// Reads the text; an error says which line is wrong, and why.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rules = Self::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(pattern) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                if pattern.is_empty() || pattern.contains(['[', ']']) {
                    return Err(format!("\"{line}\": a pattern is a name with * and ?"));
                }
                rules.by_name.push((pattern.chars().collect(), Settings::new()));
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| format!("\"{line}\" is no setting"))?;
            let (name, value) = (name.trim(), value.trim());
            let field = FIELDS.iter().find(|field| field.name == name);
            let field = field.ok_or_else(|| format!("nodes have no option \"{name}\""))?;
            let settings = rules.by_name.last_mut().map_or(&mut rules.common, |(_, settings)| settings);
            match settings.iter_mut().find(|(known, _)| known.name == name) {
                Some((_, values)) => values.push(value.to_owned()),
                None => settings.push((field, vec![value.to_owned()])),
            }
        }
        let every = rules.by_name.iter().map(|(_, settings)| settings).chain([&rules.common]);
        for (field, values) in every.flatten() {
            if !set(field, &mut NodeConfig::component(), values) {
                return Err(format!("\"{}\" cannot be \"{}\"", field.name, values.join("\", \"")));
            }
        }
        Ok(rules)
    }

    /// Puts the settings for a node of that name into a configuration.
    pub fn apply(&self, name: &str, config: &mut NodeConfig) {
        for (field, values) in self.settings(name) {
            set(field, config, values);
        }
    }

    /// Puts values of another configuration into those fields that have settings for a node of that name.
    pub fn take_back(&self, name: &str, config: &mut NodeConfig, other: &NodeConfig) {
        for (field, _) in self.settings(name) {
            set(field, config, &(field.get)(other));
        }
    }

    /// Whether there are settings for a node of that name.
    pub fn concern(&self, name: &str) -> bool {
        self.settings(name).next().is_some()
    }

    /// Whether any node may get another configuration in which `test` holds.
    pub fn any(&self, test: impl Fn(&NodeConfig) -> bool) -> bool {
        let every = self.by_name.iter().map(|(_, settings)| settings).chain([&self.common]);
        every.flatten().any(|(field, values)| {
            let mut config = NodeConfig::account();
            set(field, &mut config, values) && test(&config)
        })
    }

    fn settings(&self, name: &str) -> impl Iterator<Item = &(&'static Field, Vec<String>)> {
        let fitting = self.by_name.iter().find(|(pattern, _)| fits(pattern, name));
        self.common.iter().chain(fitting.into_iter().flat_map(|(_, settings)| settings))
    }
}

fn set(field: &Field, config: &mut NodeConfig, values: &[String]) -> bool {
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    (field.set)(config, &values)
}

/// Whether a name fits a pattern. Costs at most length times length: a star is only gone back to when it is the last one.
fn fits(pattern: &[char], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::{Rules, fits};
    use crate::pubsub::NodeConfig;
    use crate::pubsub::config::{AccessModel, Limit};

    #[test]
    fn patterns() {
        for (pattern, name, wanted) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("?", "", false),
            ("a.*", "a.b.c", true),
            ("a.*", "a", false),
            ("*.c", "a.c.c", true),
            ("*b*d", "abcbd", true),
            ("*b*d", "abcbde", false),
            ("?é", "eé", true),
            ("a*?", "a", false),
        ] {
            let chars: Vec<char> = pattern.chars().collect();
            assert_eq!(fits(&chars, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_pattern_that_fits_counts_beside_what_is_for_all() {
        let text = "max_items=7\n[x.*]\naccess_model = open\n\n[*]\naccess_model=whitelist\nmax_items=max\n";
        let rules = Rules::parse(text).expect("rules");
        let of = |name| {
            let mut config = NodeConfig::account();
            rules.apply(name, &mut config);
            (config.access_model, config.max_items)
        };
        assert_eq!(of("x.y"), (AccessModel::Open, Limit::Of(7)));
        assert_eq!(of("y"), (AccessModel::Whitelist, Limit::Max));
        assert!(!Rules::parse("[x]\ntitle=X").expect("rules").concern("y"));
    }

    #[test]
    fn several_values_and_what_is_taken_back() {
        let rules = Rules::parse("roster_groups_allowed=b\nroster_groups_allowed=a").expect("rules");
        let own = NodeConfig { title: "Own".into(), ..NodeConfig::account() };
        let mut config = own.clone();
        rules.apply("x", &mut config);
        assert_eq!(config.roster_groups_allowed, ["a", "b"]);
        config.title = "New".into();
        rules.take_back("x", &mut config, &own);
        assert_eq!(config, NodeConfig { title: "New".into(), ..own });
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("access_model", "is no setting"),
            ("[x]\nacces_model=open", "acces_model"),
            ("[x]\naccess_model=shut", "shut"),
            ("max_items=1\nmax_items=2", "max_items"),
            ("[]\n", "[]"),
            ("[[a]*]", "[[a]*]"),
        ] {
            let why = Rules::parse(text).expect_err(text);
            assert!(why.contains(word), "{why}");
        }
    }
}
