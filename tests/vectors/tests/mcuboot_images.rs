//! The model of MCUboot takes the images that MCUboot takes, and no others.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;
use sprag_vectors::{Keys, model_agrees, read, supplied};

#[derive(Deserialize)]
struct Probe {
    id: String,
    #[serde(default)]
    why: String,
}

#[test]
fn the_model_takes_the_images_that_mcuboot_takes() -> Result<()> {
    let files: Vec<PathBuf> = match std::env::var("SPRAG_VECTORS") {
        Ok(files) => files.split(' ').map(PathBuf::from).collect(),
        Err(_) => supplied()?,
    };
    let of_images = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("images-"));
    for path in files.into_iter().filter(of_images) {
        let keys = Keys::read(path.parent().context("a file in no folder")?)?;
        let mut wrong = Vec::new();
        let mut tried = 0;
        for line in read(&path)? {
            let line = line?;
            if let Some(agrees) = model_agrees(&line, &keys)? {
                tried += 1;
                if !agrees {
                    let Probe { id, why } = serde_json::from_str(&line)?;
                    wrong.push(format!("{id} ({why})"));
                }
            }
        }
        assert!(
            wrong.is_empty(),
            "{}: {} of {tried}: {:#?}",
            path.display(),
            wrong.len(),
            &wrong[..wrong.len().min(20)]
        );
        println!("{}: {tried}", path.display());
    }
    Ok(())
}
