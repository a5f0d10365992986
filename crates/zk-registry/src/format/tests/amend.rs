//! What an operator changes in a record, and what stays.

use std::num::NonZeroU16;

use super::*;
use crate::format::sealed::Amendment;

fn amend(data: &str, amendment: Amendment<'_>) -> String {
    String::from_utf8(Curator.amend(data.as_bytes(), amendment).unwrap()).unwrap()
}

#[test]
fn a_record_of_ours_is_drained_and_brought_back_with_both_marks_and_nothing_else_changes() {
    let written = encode(&Curator, &Instance::new("10.0.0.1", 80).with_zone("a")).unwrap();
    let drained = amend(&written, Amendment::Status(Status::Draining, None));
    assert!(
        drained.contains(r#""enabled":false"#) && drained.contains(r#""status":"draining""#),
        "{drained}"
    );
    let read = |data: &str| decode(&Curator, "x", data.as_bytes()).unwrap();
    assert_eq!(read(&drained).instance.status(), Status::Draining);
    assert_eq!(read(&drained).owner, Some(owner()));
    let back = amend(&drained, Amendment::Status(Status::Up, None));
    assert_eq!(read(&back), read(&written));
}

#[test]
fn a_record_of_a_stranger_keeps_every_field_as_it_was_written() {
    let foreign = r#"{"name":"time","x":{"b":1.50,"a":"\u00e9"},"address":"10.0.0.1","port":80,"enabled":true,"y":[ ]}"#;
    let drained = amend(foreign, Amendment::Status(Status::Draining, None));
    assert_eq!(drained, foreign.replace("true", "false"));
    assert_eq!(amend(&drained, Amendment::Status(Status::Up, None)), foreign);
    let heavy = amend(foreign, Amendment::Weight(NonZeroU16::new(7).unwrap()));
    assert_eq!(heavy, foreign.replace(r#"[ ]}"#, r#"[ ],"zk-registry":{"v":1,"weight":7}}"#));
    assert_eq!(decode(&Curator, "x", heavy.as_bytes()).unwrap().instance.weight().get(), 7);
}

#[test]
fn a_format_that_cannot_say_it_says_so() {
    for format in [&CuratorStrict as &dyn Format, &Plain] {
        let refused = format.amend(b"{}", Amendment::Status(Status::Draining, None)).unwrap_err();
        assert!(refused.contains("draining"), "{refused}");
    }
}

#[test]
fn a_record_of_spring_is_drained_by_springs_own_mark_too() {
    let up = include_str!("../fixtures/spring/spring-up.json");
    for format in [&Curator as &dyn Format, &Spring] {
        let drained = format.amend(up.as_bytes(), Amendment::Status(Status::Draining, None)).unwrap();
        let text = String::from_utf8(drained.clone()).unwrap();
        assert!(text.contains(r#""instance_status":"OUT_OF_SERVICE""#), "{text}");
        assert!(text.contains(r#""enabled":false"#), "{text}");
        assert_eq!(decode(format, "x", &drained).unwrap().instance.status(), Status::Draining);
        let back = format.amend(&drained, Amendment::Status(Status::Up, None)).unwrap();
        assert_eq!(decode(format, "x", &back).unwrap(), decode(format, "x", up.as_bytes()).unwrap());
    }
    let heavy = Spring.amend(up.as_bytes(), Amendment::Weight(NonZeroU16::new(7).unwrap())).unwrap();
    assert_eq!(decode(&Spring, "x", &heavy).unwrap().instance.weight().get(), 7);
}

#[test]
fn a_reason_stands_in_the_metadata_until_the_instance_is_brought_back() {
    let written = encode(&Curator, &Instance::new("10.0.0.1", 80).with_metadata("k", "v")).unwrap();
    let foreign = r#"{"name":"time","address":"10.0.0.1","port":80}"#.to_owned();
    let spring = include_str!("../fixtures/spring/spring-up.json").to_owned();
    for (format, record) in [(&Curator as &dyn Format, written), (&Curator, foreign), (&Spring, spring)] {
        let before = decode(format, "x", record.as_bytes()).unwrap();
        let amended = format
            .amend(record.as_bytes(), Amendment::Status(Status::Draining, Some("a \"deploy\"")))
            .unwrap();
        let drained = decode(format, "x", &amended).unwrap().instance;
        assert_eq!(drained.metadata().get("drain-reason").map(String::as_str), Some("a \"deploy\""));
        let back = format.amend(&amended, Amendment::Status(Status::Up, None)).unwrap();
        assert_eq!(decode(format, "x", &back).unwrap().instance, before.instance);
    }
}
