//! The patterns of `--only` and `--except`, made absolute: the interposer sees only files' absolute paths.

use std::path::Path;

use glob::Pattern;

use crate::failure::Failure;

/// Joins the patterns for the environment, one a line, each absolute.
pub fn join(option: &str, patterns: &[String], cwd: &Path) -> Result<String, Failure> {
    let patterns: Result<Vec<String>, Failure> =
        patterns.iter().filter(|p| !p.is_empty()).map(|p| absolute(option, p, cwd)).collect();
    Ok(patterns?.join("\n"))
}

/// `*.db` means a file name anywhere; `data/*.db` is relative to the working directory; a directory means all in it.
fn absolute(option: &str, pattern: &str, cwd: &Path) -> Result<String, Failure> {
    let bad = |why: &str| Failure::own(format!("{option} '{pattern}': {why}"));
    let is_directory = cwd.join(pattern).is_dir();
    let is_name = !pattern.contains('/') && !is_directory;
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let mut full = if pattern.starts_with('/') {
        pattern.to_owned()
    } else if is_name {
        format!("/**/{pattern}")
    } else {
        let cwd = cwd
            .to_str()
            .ok_or_else(|| bad("the working directory's name is not UTF-8; use an absolute one"))?;
        format!("{}/{pattern}", Pattern::escape(cwd.trim_end_matches('/')))
    };
    if is_directory {
        full = format!("{}/**", full.trim_end_matches(['/', '.']));
    }
    if full.split('/').any(|part| part == "..") {
        return Err(bad("'..' never matches: files are known by their absolute paths"));
    }
    Pattern::new(&full).map_err(|e| bad(e.msg))?;
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pattern: &str, cwd: &Path) -> String {
        join("--only", &[pattern.to_owned()], cwd).unwrap()
    }

    #[test]
    fn a_name_matches_anywhere_and_a_path_from_here() {
        let cwd = Path::new("/nowhere/[odd]");
        assert_eq!(one("*.db", cwd), "/**/*.db");
        assert_eq!(one("data/*.db", cwd), "/nowhere/[[]odd[]]/data/*.db");
        assert_eq!(one("./*.db", cwd), "/nowhere/[[]odd[]]/*.db");
        assert_eq!(one("/srv/**/x", cwd), "/srv/**/x");
        assert!(Pattern::new(&one("data/*.db", cwd)).unwrap().matches("/nowhere/[odd]/data/a.db"));
        assert!(Pattern::new(&one("*.db", cwd)).unwrap().matches("/a.db"));
    }

    #[test]
    fn a_directory_means_what_is_in_it() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("sub")).unwrap();
        let inside = home.path().join("sub/deep/file");
        for pattern in ["sub", "sub/", "."] {
            let full = Pattern::new(&one(pattern, home.path())).unwrap();
            assert!(full.matches_path(&inside), "{pattern}: {full}");
            assert!(!full.matches("/elsewhere/sub/file"), "{pattern}: {full}");
        }
    }

    #[test]
    fn what_cannot_match_is_refused() {
        let cwd = Path::new("/nowhere");
        for pattern in ["../x", "a**b", "["] {
            assert!(join("--only", &[pattern.to_owned()], cwd).is_err(), "{pattern}");
        }
    }
}
