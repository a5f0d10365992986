//! The dialects that every test of a registration and a view is run with.

/// Each dialect that is written, and whether it can say that an instance is draining. For the tests of this library; no part of its
/// stable interface.
pub const WRITTEN_DIALECTS: [(&str, bool); 11] = [
    ("armeria", false),
    ("curator", true),
    ("curator-strict", false),
    ("dubbo:group=g,version=1.0.0,protocol=tri", true),
    ("kitex", false),
    ("kratos", false),
    ("motan", true),
    ("nerve", true),
    ("plain", false),
    ("serverset", false),
    ("spring", true),
];
