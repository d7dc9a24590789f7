//! A sample of the vectors that come with the project, in every test run; `cargo xtask vectors` compares all of them.

use std::path::Path;

use sprag_vectors::{Keys, Outcome, judge, read, supplied};

/// One vector of so many is compared here.
const EVERY: usize = 40;

#[test]
fn a_sample_of_every_file_is_reproduced_or_left_out_by_name() {
    let files = supplied().unwrap();
    assert!(files.len() >= 24, "vectors are missing: {files:?}");
    let mut reproduced = 0;
    for file in files {
        let keys = Keys::read(file.parent().unwrap_or(Path::new(""))).unwrap();
        for line in read(&file).unwrap().step_by(EVERY) {
            match judge(&line.unwrap(), &keys) {
                (_, Outcome::Reproduced) => reproduced += 1,
                (_, Outcome::LeftOut(_)) => {}
                (id, Outcome::Wrong(why)) => panic!("{}: {id}: {why}", file.display()),
            }
        }
    }
    assert!(reproduced > 900, "{reproduced} vectors reproduced");
}

#[test]
fn what_is_no_vector_is_wrong_and_not_left_out() {
    let keys = Keys::default();
    for line in ["", "{}", r#"{"id":"x"}"#, r#"{"id":"x","method":"move"}"#, r#"{"id":"x","build":"none"}"#] {
        assert!(matches!(judge(line, &keys).1, Outcome::Wrong(_)), "{line}");
    }
}
