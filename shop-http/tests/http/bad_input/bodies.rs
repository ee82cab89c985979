//! Bodies that are no purchase. Each line is a case: the body and its error. The limits of texts, prices and times are
//! tested where they are parsed.

/// A body, and the text of its error.
pub(super) type Case = (Vec<u8>, String);

/// Invalid JSON, or JSON that is no object.
const NO_OBJECTS: &[&[u8]] = &[
    b"",
    b"{",
    b"nonsense",
    b"-5.5e5",
    b"\"text\"",
    br#"[{"username":"ada","userid":"u1","price":1}]"#,
    br#"{'username':'ada','userid':'u1','price':1}"#,
    br#"{"username":"ada","userid":"u1","price":1,}"#,
    br#"{"username":"ada","userid":"u1","price":1}{}"#,
    br#"{"username":"ada","userid":"u1","price":1} // a comment"#,
    br#"{"username":"ada","userid":"u1","price":NaN}"#,
    br#"{"username":"ada","userid":"u1","price":010}"#,
    br#"{"username":"ada","userid":"u1","price":.5}"#,
    br#"{"username":"a\u12","userid":"u1","price":1}"#,
    b"{\"username\":\"a\nb\",\"userid\":\"u1\",\"price\":1}",
    b"username=ada&userid=u1&price=1",
    // Duplicate members.
    br#"{"username":"ada","userid":"u1","price":1,"price":1}"#,
    br#"{"username":"ada","userid":"u1","user\u0069d":"u2","price":1}"#,
    // No UTF-8.
    b"\xff\xfe{\0}\0",
    b"{\"username\":\"a\xed\xa0\x80\",\"userid\":\"u1\",\"price\":1}",
    b"{\"x\xff\":\"a\",\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}",
    b"{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}\xff",
];

/// Objects with missing members, and the members.
const TOO_LITTLE: &[(&str, &str)] = &[
    (
        r#"{"data":{"username":"ada","userid":"u1","price":1}}"#,
        "['username', 'userid', 'price']",
    ),
    (r#"{"userid":"u1"}"#, "['username', 'price']"),
    (
        r#"{"username":"ada","USERID":"u1","Price":1}"#,
        "['userid', 'price']",
    ),
    (
        r#"{"username":null,"userid":null,"price":null}"#,
        "['username', 'userid']",
    ),
];

/// Invalid values, and their errors.
const INVALID: &[(&str, &str, &str)] = &[
    ("userid", "true", "userid must be text"),
    ("userid", r#"{"$gt":""}"#, "userid must be text"),
    ("userid", "1e3", "userid must be text"),
    ("username", r#""\ud800""#, "username must be text"),
    (
        "username",
        r#""\u3000\u2003""#,
        "username must not be blank",
    ),
    (
        "userid",
        r#""a\r\nx-evil: 1""#,
        "userid must not contain control characters",
    ),
    ("price", "null", "Price must be a valid number"),
    ("price", "[1]", "Price must be a valid number"),
    ("price", r#""""#, "Price must be a valid number"),
    ("price", r#""1,000""#, "Price must be a valid number"),
    ("price", r#""\u0663""#, "Price must be a valid number"),
    ("price", "1e999", "Price must be a valid number"),
    ("price", "-0.01", "Price cannot be negative"),
    ("price", r#""-5""#, "Price cannot be negative"),
    (
        "price",
        "1000000000000000.01",
        "Price must not be larger than 1000000000000000",
    ),
];

/// Bodies without an object.
pub(super) fn without_object() -> Vec<Case> {
    let deep = [
        "[".repeat(90_000),
        format!(r#"{{"username":{}"#, "[".repeat(90_000)),
        r#"{"x":"#.repeat(15_000),
    ];
    let deep = deep.into_iter().map(String::into_bytes);
    let all = NO_OBJECTS.iter().map(|body| body.to_vec()).chain(deep);
    all.map(|body| (body, "Request body must be a JSON object".to_owned()))
        .collect()
}

/// Objects with missing or invalid members.
pub(super) fn with_object() -> Vec<Case> {
    let missing = |fields: &str| format!("Missing required fields: {fields}");
    let missing = TOO_LITTLE
        .iter()
        .map(|(body, fields)| (body.as_bytes().to_vec(), missing(fields)));
    let invalid = INVALID
        .iter()
        .map(|(member, value, text)| (with(member, value), (*text).to_owned()));
    // Closed again, so that it is JSON.
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = [
        ("username", "username must be text"),
        ("price", "Price must be a valid number"),
    ]
    .map(|(member, text)| (with(member, &deep), text.to_owned()));
    let long = [("userid", 128), ("username", 256)].map(|(member, longest)| {
        let long = format!("\"{}\"", "\u{1f600}".repeat(longest + 1));
        (
            with(member, &long),
            format!("{member} must not be longer than {longest} characters"),
        )
    });
    missing.chain(invalid).chain(deep).chain(long).collect()
}

/// A valid body but for one member.
pub(crate) fn with(member: &str, value: &str) -> Vec<u8> {
    let good = [
        ("username", "\"ada\""),
        ("userid", "\"u1\""),
        ("price", "1"),
    ];
    let all = good
        .map(|(name, usual)| format!("\"{name}\":{}", if name == member { value } else { usual }));
    format!("{{{}}}", all.join(",")).into_bytes()
}
