//! docs/performance.md and the benches agree on what is measured, and how it is asked for.

use std::fs;
use std::path::Path;

fn text(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The workloads that have a section, with it.
fn sections(document: &str) -> Vec<(&str, &str)> {
    let (_, figures) = document.split_once("\n## Figures\n").expect("it has figures");
    figures.split("\n### ").skip(1).map(|section| section.split_once('\n').expect("a heading and more")).collect()
}

/// What stands in quotes behind this.
fn quoted<'a>(code: &'a str, before: &str) -> Vec<&'a str> {
    let quoted = code.split(before).skip(1).map(|rest| rest.split('"').next().expect("there is a first part"));
    quoted.filter(|text| !text.is_empty()).collect()
}

#[test]
fn every_workload_has_its_figures_and_all_figures_have_their_workload() {
    let (document, code) = (text("docs/performance.md"), text("benches/versus/workload.rs"));
    let sections = sections(&document);
    let names: Vec<&str> = sections.iter().map(|(name, _)| *name).collect();
    assert!(names.len() > 5, "{names:?}");
    assert_eq!(names, quoted(&code, "            name: \""));
    for (name, figures) in sections {
        assert!(figures.lines().filter(|line| line.starts_with('|')).count() > 3, "{name} has no figures");
        assert!(!figures.contains("failed"), "{name} has failures for figures");
    }
}

#[test]
fn every_variable_of_the_bench_is_explained() {
    let (plan, guide) = (text("benches/versus/plan.rs"), text("CONTRIBUTING.md"));
    let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_uppercase());
    let variables: Vec<&str> = quoted(&plan, "\"BENCH_").into_iter().filter(is_name).collect();
    assert!(variables.contains(&"ROUNDS"), "{variables:?}");
    for variable in variables {
        assert!(guide.contains(&format!("`BENCH_{variable}`")), "CONTRIBUTING.md lacks BENCH_{variable}");
    }
}
