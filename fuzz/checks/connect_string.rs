//! What must hold for any text in place of a connect string: it is refused in one line, or what is shown of it means the
//! same.

use zk_registry::ConnectString;

pub(crate) fn connect_string(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    match text.parse::<ConnectString>() {
        Ok(to) => assert_eq!(to.to_string().parse::<ConnectString>().expect("what is shown is accepted"), to),
        Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
    }
}
