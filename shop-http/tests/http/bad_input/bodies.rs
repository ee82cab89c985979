//! Bodies that are no purchase. Each line is a case: the body and its error.

/// A body, and the text of its error.
pub(super) type Case = (Vec<u8>, String);

/// Invalid JSON, or JSON that is no object.
const NO_OBJECTS: &[&str] = &[
    "",
    " ",
    "\r\n",
    "{",
    "}",
    "[",
    "]",
    "{]",
    "[}",
    ",",
    ":",
    "\"",
    "nonsense",
    "tru",
    "True",
    "None",
    "undefined",
    "NaN",
    "Infinity",
    "5",
    "-5.5e5",
    "true",
    "\"text\"",
    r#"["ada","u1",5]"#,
    r#"[{"username":"ada","userid":"u1","price":1}]"#,
    r#""{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}""#,
    r#"{"username""#,
    r#"{"username":"#,
    r#"{"username":}"#,
    r#"{"username" "ada"}"#,
    r#"{"username":"ada"#,
    r#"{"username":"ada""#,
    r#"{username:"ada","userid":"u1","price":1}"#,
    r#"{'username':'ada','userid':'u1','price':1}"#,
    r#"{"username":"ada","userid":"u1","price":1,}"#,
    r#"{,"username":"ada","userid":"u1","price":1}"#,
    r#"{"username":"ada";"userid":"u1";"price":1}"#,
    r#"{"username":"ada","userid":"u1","price":1}}"#,
    r#"{"username":"ada","userid":"u1","price":1}{}"#,
    r#"{"username":"ada","userid":"u1","price":1},"#,
    "{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}\n{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}",
    r#"{"username":"ada","userid":"u1","price":1} // a comment"#,
    r#"{/* a comment */"username":"ada","userid":"u1","price":1}"#,
    r#"{"username":"ada","userid":"u1","price":NaN}"#,
    r#"{"username":"ada","userid":"u1","price":-Infinity}"#,
    r#"{"username":"ada","userid":"u1","price":undefined}"#,
    r#"{"username":"ada","userid":"u1","price":0x10}"#,
    r#"{"username":"ada","userid":"u1","price":010}"#,
    r#"{"username":"ada","userid":"u1","price":+1}"#,
    r#"{"username":"ada","userid":"u1","price":.5}"#,
    r#"{"username":"ada","userid":"u1","price":5.}"#,
    r#"{"username":"ada","userid":"u1","price":1e}"#,
    r#"{"username":"ada","userid":"u1","price":--1}"#,
    r#"{"username":"ada","userid":"u1","price":1_000}"#,
    r#"{"username":"ada","userid":"u1","price":1,000}"#,
    r#"{"username":"a\x41","userid":"u1","price":1}"#,
    r#"{"username":"a\u12","userid":"u1","price":1}"#,
    "{\"username\":\"a\nb\",\"userid\":\"u1\",\"price\":1}",
    "{\"username\":\"a\tb\",\"userid\":\"u1\",\"price\":1}",
    "{\"username\":\"a\0b\",\"userid\":\"u1\",\"price\":1}",
    "username=ada&userid=u1&price=1",
    "<purchase><username>ada</username></purchase>",
    "username: ada\nuserid: u1\nprice: 1\n",
    "username,userid,price\nada,u1,1\n",
    // Duplicate members.
    r#"{"username":"ada","userid":"u1","price":1,"price":1}"#,
    r#"{"username":"ada","userid":"u1","price":1,"price":2}"#,
    r#"{"username":"ada","username":"eve","userid":"u1","price":1}"#,
    r#"{"username":"ada","userid":"u1","userid":"u1","price":1}"#,
    r#"{"username":"ada","userid":"u1","price":1,"timestamp":1,"timestamp":2}"#,
    r#"{"username":"ada","userid":"u1","user\u0069d":"u2","price":1}"#,
];

/// Aliases with different values, each known to a replaced system.
pub(super) const CONTRADICTIONS: &[&str] = &[
    r#"{"username":"ada","userid":"u1","userId":"u2","price":1}"#,
    r#"{"username":"ada","userid":"u1","user_id":"u2","price":1}"#,
    r#"{"username":"ada","userID":"u1","user_id":"u2","price":1}"#,
];

/// Bytes that are no UTF-8, at every place.
const NO_TEXT: &[&[u8]] = &[
    b"\xff\xfe{\0}\0",
    b"\0{\0}",
    b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
    b"{\"username\":\"a\xff\",\"userid\":\"u1\",\"price\":1}",
    b"{\"username\":\"a\xc0\x80\",\"userid\":\"u1\",\"price\":1}",
    b"{\"username\":\"a\xed\xa0\x80\",\"userid\":\"u1\",\"price\":1}",
    b"{\"username\":\"a\xe4\",\"userid\":\"u1\",\"price\":1}",
    b"{\"x\":\"a\xff\",\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}",
    b"{\"x\xff\":\"a\",\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}",
    b"{\"username\":\"ada\",\"userid\":\"u1\",\"price\":1}\xff",
];

/// Objects with missing members, and the members.
const TOO_LITTLE: &[(&str, &str)] = &[
    (r#"{"x":1}"#, "['username', 'userid', 'price']"),
    (r#"{"data":{"username":"ada","userid":"u1","price":1}}"#, "['username', 'userid', 'price']"),
    (r#"{"username":"ada"}"#, "['userid', 'price']"),
    (r#"{"userid":"u1"}"#, "['username', 'price']"),
    (r#"{"price":1}"#, "['username', 'userid']"),
    (r#"{"username":"ada","userid":"u1"}"#, "['price']"),
    (r#"{"username":"ada","userid":"u1","Price":1}"#, "['price']"),
    (r#"{"username":"ada","USERID":"u1","price":1}"#, "['userid']"),
    (r#"{" username":"ada","userid":"u1","price":1}"#, "['username']"),
    (r#"{"username":"ada","userid":null,"price":1}"#, "['userid']"),
    (r#"{"username":null,"userid":"u1","price":1}"#, "['username']"),
    (r#"{"username":null,"userid":null,"price":null}"#, "['username', 'userid']"),
];

/// Invalid user ids and names, and the error after the member's name.
const NO_USERS: &[(&str, &str)] = &[
    ("true", "must be text"),
    ("[]", "must be text"),
    (r#"["ada"]"#, "must be text"),
    ("{}", "must be text"),
    (r#"{"$gt":""}"#, "must be text"),
    ("1.5", "must be text"),
    ("5.0", "must be text"),
    ("1e3", "must be text"),
    (r#""\ud800""#, "must be text"),
    (r#""\udc00\ud800""#, "must be text"),
    (r#"" ""#, "must not be blank"),
    (r#""\u00a0""#, "must not be blank"),
    (r#""\u3000\u2003""#, "must not be blank"),
    (r#""\t""#, "must not be blank"),
    (r#""a\u0000""#, "must not contain control characters"),
    (r#""a\nb""#, "must not contain control characters"),
    (r#""a\r\nx-evil: 1""#, "must not contain control characters"),
    (r#""\u001b[31m""#, "must not contain control characters"),
    (r#""\u0085x""#, "must not contain control characters"),
    (r#""a\u007f""#, "must not contain control characters"),
    (r#""a\u009f""#, "must not contain control characters"),
];

/// Invalid prices, and their errors.
const NO_PRICES: &[(&str, &str)] = &[
    ("null", "Price must be a valid number"),
    ("true", "Price must be a valid number"),
    ("false", "Price must be a valid number"),
    ("[]", "Price must be a valid number"),
    ("[1]", "Price must be a valid number"),
    ("{}", "Price must be a valid number"),
    (r#"{"amount":1}"#, "Price must be a valid number"),
    (r#""""#, "Price must be a valid number"),
    (r#"" ""#, "Price must be a valid number"),
    (r#""abc""#, "Price must be a valid number"),
    (r#""0x10""#, "Price must be a valid number"),
    (r#""0b1""#, "Price must be a valid number"),
    (r#""NaN""#, "Price must be a valid number"),
    (r#""Infinity""#, "Price must be a valid number"),
    (r#""-inf""#, "Price must be a valid number"),
    (r#""1_000""#, "Price must be a valid number"),
    (r#""1,000""#, "Price must be a valid number"),
    (r#""1.2.3""#, "Price must be a valid number"),
    (r#""1 2""#, "Price must be a valid number"),
    (r#""$5""#, "Price must be a valid number"),
    (r#""5 EUR""#, "Price must be a valid number"),
    (r#""1e""#, "Price must be a valid number"),
    (r#""e5""#, "Price must be a valid number"),
    (r#"".""#, "Price must be a valid number"),
    (r#""--1""#, "Price must be a valid number"),
    (r#""\uff11\uff12""#, "Price must be a valid number"),
    (r#""\u0663""#, "Price must be a valid number"),
    (r#""\ud800""#, "Price must be a valid number"),
    (r#""1\u0000""#, "Price must be a valid number"),
    ("1e999", "Price must be a valid number"),
    (r#""1e99999999999999999999""#, "Price must be a valid number"),
    ("-0.01", "Price cannot be negative"),
    ("-1", "Price cannot be negative"),
    ("-1e300", "Price cannot be negative"),
    (r#""-5""#, "Price cannot be negative"),
    ("1e16", "Price must not be larger than 1000000000000000"),
    ("1e308", "Price must not be larger than 1000000000000000"),
    ("1000000000000000.01", "Price must not be larger than 1000000000000000"),
    ("99999999999999999999999999999999999999", "Price must not be larger than 1000000000000000"),
];

fn owned(text: &str) -> String {
    text.to_owned()
}

/// Bodies without an object.
pub(super) fn without_object() -> Vec<Case> {
    let is_no_object = || owned("Request body must be a JSON object");
    let mut cases: Vec<Case> =
        NO_OBJECTS.iter().map(|body| (body.as_bytes().to_vec(), is_no_object())).collect();
    cases.extend(NO_TEXT.iter().map(|body| (body.to_vec(), is_no_object())));
    // Nested too deeply.
    let deep =
        ["[".repeat(90_000), format!(r#"{{"username":{}"#, "[".repeat(90_000)), r#"{"x":"#.repeat(15_000)];
    cases.extend(deep.map(|body| (body.into_bytes(), is_no_object())));
    cases
}

/// Objects with missing or invalid members.
pub(super) fn with_object() -> Vec<Case> {
    let missing = |fields: &str| format!("Missing required fields: {fields}");
    let mut cases: Vec<Case> =
        TOO_LITTLE.iter().map(|(body, fields)| (body.as_bytes().to_vec(), missing(fields))).collect();
    cases.extend(NO_PRICES.iter().map(|(value, text)| (with("price", value), owned(text))));
    let digits = "9".repeat(50_000);
    cases.push((with("price", &digits), owned("Price must not be larger than 1000000000000000")));
    // Closed again, so that it is JSON.
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    cases.push((with("username", &deep), owned("username must be text")));
    cases.push((with("price", &deep), owned("Price must be a valid number")));
    for (member, longest) in [("userid", 128), ("username", 256)] {
        cases.extend(NO_USERS.iter().map(|(value, text)| (with(member, value), format!("{member} {text}"))));
        let too_long = format!("{member} must not be longer than {longest} characters");
        for letter in ["x", "ä", "\u{1f600}"] {
            let long = format!("\"{}\"", letter.repeat(longest + 1));
            cases.push((with(member, &long), too_long.clone()));
        }
        cases.push((with(member, &format!("\"{}\"", "x".repeat(100_000))), too_long));
    }
    cases
}

/// A valid body but for one member.
pub(super) fn with(member: &str, value: &str) -> Vec<u8> {
    let good = [("username", "\"ada\""), ("userid", "\"u1\""), ("price", "1")];
    let all = good.map(|(name, usual)| format!("\"{name}\":{}", if name == member { value } else { usual }));
    format!("{{{}}}", all.join(",")).into_bytes()
}
