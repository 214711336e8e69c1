//! `cargo xtask licences`: every dependency must be free to use under a permissive licence.

use anyhow::{Context, Result};
use cargo_metadata::MetadataCommand;
use spdx::{Expression, ParseMode};

/// The licences that we accept, by their SPDX identifiers. Of `A OR B` one is enough, of `A AND B` both are needed.
const ACCEPTED: [&str; 10] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

pub(crate) fn main() -> Result<bool> {
    let metadata = MetadataCommand::new().exec().context("cannot ask cargo about the dependencies")?;
    let mut refused = 0;
    for package in &metadata.packages {
        if let Err(why) = check(package.license.as_deref()) {
            refused += 1;
            eprintln!("{} {}: {why}", package.name, package.version);
        }
    }
    let all = metadata.packages.len();
    if refused == 0 {
        println!("licences: all {all} packages are under one of {}", ACCEPTED.join(", "));
    } else {
        eprintln!("licences: {refused} of {all} packages are under none of {}", ACCEPTED.join(", "));
    }
    Ok(refused == 0)
}

fn check(licence: Option<&str>) -> Result<(), String> {
    let licence = licence.ok_or("names no licence")?;
    let expression =
        Expression::parse_mode(licence, ParseMode::LAX).map_err(|e| format!("{licence}: {}", e.reason))?;
    let accepted =
        expression.evaluate(|wanted| wanted.license.id().is_some_and(|id| ACCEPTED.contains(&id.name)));
    if accepted { Ok(()) } else { Err(licence.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn accepts_permissive_licences_only() {
        for good in ["MIT", "MIT OR GPL-3.0-only", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert_eq!(check(Some(good)), Ok(()), "{good}");
        }
        for bad in ["GPL-3.0-only", "MIT AND GPL-2.0-only", "APSL-2.0", "nonsense"] {
            assert!(check(Some(bad)).is_err(), "{bad}");
        }
        assert!(check(None).is_err());
    }
}
