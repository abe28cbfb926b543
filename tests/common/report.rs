//! Which requirement rows the passing scripts stand for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The requirement rows of all documents.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Document and whether a service can be tested for it, by id.
    rows: BTreeMap<String, (String, bool)>,
    /// Why a row has no scenario, by id.
    reasons: BTreeMap<String, String>,
}

impl Rows {
    /// Reads `*.tsv` of the folder. Tables without an `id` column are not requirement rows.
    pub(crate) fn read(folder: &Path) -> Result<Self, String> {
        let mut all = Self::default();
        let mut files: Vec<_> = fs::read_dir(folder)
            .map_err(|why| format!("{}: {why}", folder.display()))?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "tsv"))
            .collect();
        files.sort();
        for path in files {
            let text = fs::read_to_string(&path).map_err(|why| format!("{}: {why}", path.display()))?;
            let document = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if document == "uncovered" {
                all.read_reasons(&text)?;
            } else {
                all.read_rows(&document, &text)?;
            }
        }
        for id in all.reasons.keys() {
            all.must_know(id).map_err(|why| format!("uncovered.tsv: {why}"))?;
        }
        Ok(all)
    }

    fn read_rows(&mut self, document: &str, text: &str) -> Result<(), String> {
        let mut lines = text.lines();
        let columns: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
        if columns.first() != Some(&"id") {
            return Ok(());
        }
        let testable = columns.iter().position(|column| *column == "testable-by-service");
        let testable = testable.ok_or_else(|| format!("{document}.tsv has no column testable-by-service"))?;
        for line in lines.filter(|line| !line.is_empty()) {
            let cells: Vec<&str> = line.split('\t').collect();
            self.rows.insert(cells[0].to_owned(), (document.to_owned(), cells.get(testable) == Some(&"y")));
        }
        Ok(())
    }

    fn read_reasons(&mut self, text: &str) -> Result<(), String> {
        for line in text.lines().skip(1).filter(|line| !line.is_empty()) {
            let (id, reason) = line.split_once('\t').ok_or_else(|| format!("uncovered.tsv: `{line}` has no reason"))?;
            self.reasons.insert(id.to_owned(), reason.to_owned());
        }
        Ok(())
    }

    /// An error if there is no row of this id.
    pub(crate) fn must_know(&self, id: &str) -> Result<(), String> {
        if self.rows.contains_key(id) { Ok(()) } else { Err(format!("there is no requirement row `{id}`")) }
    }

    /// The table per document and door, and the list of rows that no door covers.
    pub(crate) fn report(&self, doors: &[(String, BTreeSet<String>)]) -> (String, String) {
        let mut documents: BTreeMap<&str, (usize, Vec<usize>)> = BTreeMap::new();
        let mut uncovered = String::from("id\treason\n");
        for (id, (document, testable)) in &self.rows {
            let entry = documents.entry(document).or_insert_with(|| (0, vec![0; doors.len()]));
            entry.0 += usize::from(*testable);
            for (count, (_, covered)) in entry.1.iter_mut().zip(doors) {
                *count += usize::from(*testable && covered.contains(id));
            }
            if *testable && !doors.iter().any(|(_, covered)| covered.contains(id)) {
                let reason = self.reasons.get(id).map_or("no scenario yet", String::as_str);
                let _ = writeln!(uncovered, "{id}\t{reason}");
            }
        }
        let mut table = format!("{:<12} {:>9}", "document", "testable");
        for (door, _) in doors {
            let _ = write!(table, " {door:>12}");
        }
        table.push('\n');
        for (document, (testable, counts)) in &documents {
            let _ = write!(table, "{document:<12} {testable:>9}");
            for count in counts {
                let _ = write!(table, " {count:>12}");
            }
            table.push('\n');
        }
        (table, uncovered)
    }
}
