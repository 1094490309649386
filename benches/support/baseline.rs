//! What the pieces took when somebody last looked, and whether they still do.

use std::{fmt::Write as _, path::Path, process::Command};

use crate::counting::Counts;

pub(crate) const PATH: &str = "benches/instructions.baseline";

/// A piece that takes more than this above its baseline is too slow. Two runs of one build differ by far less.
const SLACK_PERCENT: f64 = 10.0;

const ABOUT: &str = "\
# Instructions of one run of each piece of benches/support/pieces, as .ci/instructions counts them.
# METERD_WRITE_INSTRUCTIONS=1 .ci/instructions writes this file anew.
";

/// Makes `counts` the baseline.
pub(crate) fn write(counts: &Counts) {
    let mut text = format!("{ABOUT}# Counted with {}.\n", compiler());
    for (name, count) in counts {
        writeln!(text, "{name:12} {count:>10}").unwrap();
    }
    std::fs::write(path(), text).unwrap();
}

/// Compares `counts` with the baseline, and says all that it finds.
pub(crate) fn holds(counts: &Counts) -> bool {
    let text = std::fs::read_to_string(path()).unwrap();
    let baseline = parse(&text);
    let mut holds = true;
    println!("{:12} {:>10} {:>10}", "piece", "was", "is");
    for (name, count) in counts {
        let was = baseline.iter().find(|(known, _)| known == name).map(|(_, was)| *was);
        let Some(was) = was else {
            println!("{name:12} {:>10} {count:>10}          NOT IN THE BASELINE", "");
            holds = false;
            continue;
        };
        let percent = (*count as f64 / was as f64 - 1.0) * 100.0;
        let verdict = if percent > SLACK_PERCENT {
            holds = false;
            "  SLOWER"
        } else if percent < -SLACK_PERCENT {
            "  faster: renew the baseline, or the gain can be lost unseen"
        } else {
            ""
        };
        println!("{name:12} {was:>10} {count:>10} {percent:>+7.1} %{verdict}");
    }
    for (name, _) in &baseline {
        if !counts.iter().any(|(known, _)| known == name) {
            println!("{name:12} is in the baseline, and no piece");
            holds = false;
        }
    }
    let compiler = compiler();
    if !holds && !text.contains(&compiler) {
        println!(
            "The baseline was counted with another compiler than {compiler}, which may be why."
        );
    }
    holds
}

fn parse(text: &str) -> Counts {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split_once(' '))
        .map(|(name, count)| (name.to_owned(), count.trim().parse().unwrap()))
        .collect()
}

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(PATH)
}

fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
