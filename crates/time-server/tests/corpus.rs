//! The fuzz target's check over its committed corpus, on the stable compiler and in every test run.

#[path = "../../../fuzz/checks/protocol.rs"]
mod check;

#[test]
fn the_protocol_holds_for_the_committed_corpus() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/protocol");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 10, "the corpus is in {corpus}");
    for file in files {
        check::protocol(&std::fs::read(&file).unwrap());
    }
}
