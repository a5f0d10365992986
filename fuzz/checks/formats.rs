//! What must hold for any data and any name of a node: reading it does not panic, and what was read is written, where the
//! format can carry it, as something that reads the same.

use zk_registry::format::{Curator, CuratorStrict, Format, Plain};
use zk_registry::testing::fuzzing::{Writer, decode, encode};
use zk_registry::{Attributes, ErrorKind, InstanceId, Status};

/// The input is the data for the formats that are JSON, and the name for the one that has no data.
pub(crate) fn formats(input: &[u8]) {
    json(input);
    if let Some(name) = str::from_utf8(input).ok().and_then(|name| name.parse().ok()) {
        plain(&name);
    }
}

fn json(data: &[u8]) {
    let id: InstanceId = "node".parse().expect("it is a valid id");
    let read = decode(&Curator, &id, data);
    assert_eq!(decode(&CuratorStrict, &id, data), read);
    let Ok((instance, owner)) = read else { return };

    // Whoever writes is an owner, also of what had none.
    let owner = owner.unwrap_or_else(Writer::unknown);
    let written = encode(&Curator, &id, &instance, &owner).expect("it carries everything");
    let same = (instance.clone(), Some(owner.clone()));
    assert_eq!(decode(&Curator, &id, &written), Ok(same));

    match encode(&CuratorStrict, &id, &instance, &owner) {
        Ok(written) => {
            // Nothing in it says that an instance drains: a registrar writes no record then.
            let mut attributes = instance.attributes().clone();
            attributes.status = Status::Up;
            let same = Ok((instance.with_attributes(attributes), None));
            for format in [&Curator as &dyn Format, &CuratorStrict] {
                assert_eq!(decode(format, &id, &written), same);
            }
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert_ne!(*instance.attributes(), Attributes::default(), "{error}");
        }
    }
}

fn plain(name: &InstanceId) {
    let Ok((instance, owner)) = decode(&Plain, name, b"whatever") else { return };
    assert_eq!(owner, None);
    // A name may spell its address in another way than ours, `[2001:DB8::1]:080`; it reads the same in ours.
    let id: InstanceId = instance.address().parse().expect("an address is a valid id");
    let instance = instance.with_id(id.clone());
    let written =
        encode(&Plain, &id, &instance, &Writer::unknown()).expect("it says nothing but its address");
    assert_eq!(decode(&Plain, &id, &written), Ok((instance, owner)));
}
