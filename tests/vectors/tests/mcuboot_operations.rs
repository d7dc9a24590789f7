//! The model of MCUboot does MCUboot's operations in MCUboot's order: where MCUboot's own boot was cut off between two of
//! them, the flash is one that the model goes through.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use sprag_vectors::{Keys, goes_through, read, supplied};

/// The fields that say where a boot was cut off.
#[derive(Deserialize)]
struct Probe {
    id: String,
    prev: Option<String>,
    cut: Option<Cut>,
}

#[derive(Deserialize)]
struct Cut {
    how: String,
}

/// The files named in the variable `SPRAG_VECTORS`, separated by spaces, or those that come with the project.
fn files() -> Result<Vec<PathBuf>> {
    match std::env::var("SPRAG_VECTORS") {
        Ok(files) => Ok(files.split(' ').map(PathBuf::from).collect()),
        Err(_) => supplied(),
    }
}

fn is_swap_cut(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("boot-swap-cut"))
}

#[test]
fn the_model_goes_through_each_flash_that_a_cut_of_mcuboots_boot_left() -> Result<()> {
    for path in files()?.into_iter().filter(|path| is_swap_cut(path)) {
        let keys = Keys::read(path.parent().context("a file in no folder")?)?;
        let mut lines: BTreeMap<String, String> = BTreeMap::new();
        let mut wrong = Vec::new();
        let mut tried = 0;
        for line in read(&path)? {
            let line = line?;
            let Probe { id, prev, cut } = serde_json::from_str(&line)?;
            let whole = prev.as_ref().and_then(|prev| lines.get(prev));
            let between = cut.as_ref().is_some_and(|cut| ["before it", "after it"].contains(&cut.how.as_str()));
            if let (Some(whole), true) = (whole, between) {
                tried += 1;
                if !goes_through(whole, &line, &keys)? {
                    wrong.push(id.clone());
                }
            }
            lines.insert(id, line);
        }
        assert!(
            wrong.is_empty(),
            "{}: {} of {tried}: {:?}",
            path.display(),
            wrong.len(),
            &wrong[..wrong.len().min(20)]
        );
        assert!(tried > 0, "{}: no boot that was cut off", path.display());
        println!("{}: {tried}", path.display());
    }
    Ok(())
}
