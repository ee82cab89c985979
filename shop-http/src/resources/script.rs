//! The script of a page: its modules as one file, so that a browser loads them by one request.

use std::collections::BTreeSet;

/// A module: its name and its text.
pub(super) type Module = (&'static str, &'static str);

/// The module `entry` and all that it imports, at any depth, in the order in which a browser runs them.
///
/// Each becomes a function that runs once and returns its exports. This understands what the modules of the pages have:
/// imports of names on a line of their own, exports in front of declarations, and a list of exports as the last thing.
pub(super) fn joined(modules: &[Module], entry: &str) -> String {
    let mut script = "const modules = {};\n".to_owned();
    append(modules, entry, &mut BTreeSet::new(), &mut script);
    script
}

fn append(modules: &[Module], name: &str, seen: &mut BTreeSet<&'static str>, script: &mut String) {
    let Some(&(name, text)) = modules.iter().find(|(known, _)| *known == name) else { return };
    if !seen.insert(name) {
        return;
    }
    let (mut body, mut exports) = (String::new(), Vec::new());
    for line in text.lines() {
        if let Some((names, from)) = import(line) {
            append(modules, from, seen, script);
            body += &format!("const {{{}}} = modules[\"{from}\"];", names.replace(" as ", ": "));
        } else if let Some(declaration) = line.strip_prefix("export ") {
            exports.push(declared(declaration).to_owned());
            body += declaration;
        } else if let Some((code, list)) = line.rsplit_once("export{") {
            let pairs = list.trim_end_matches([';', '}']).split(',');
            exports.extend(pairs.map(|pair| match pair.split_once(" as ") {
                Some((inner, name)) => format!("{name}: {inner}"),
                None => pair.to_owned(),
            }));
            body += code;
        } else {
            body += line;
        }
        body.push('\n');
    }
    let exports = exports.join(", ");
    *script += &format!("modules[\"{name}\"] = (() => {{\n{body}return {{ {exports} }};\n}})();\n");
}

/// The names and the module of an import.
fn import(line: &str) -> Option<(&str, &str)> {
    let (names, from) = line.strip_prefix("import {")?.split_once("} from \"./")?;
    Some((names, from.strip_suffix("\";")?))
}

/// The name that a declaration declares.
fn declared(declaration: &str) -> &str {
    let is_name = |part: &&str| !["async", "function", "class", "const", "let"].contains(part);
    let parts = declaration.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
    parts.into_iter().find(|part| is_name(part)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_functions_that_run_once_in_order() {
        let modules = [
            ("a.js", "import { b, c as d } from \"./b.js\";\nimport { e } from \"./e.js\";\nb(d, e);\n"),
            ("b.js", "import { e } from \"./e.js\";\nexport async function b() {}\nexport const c = e;\n"),
            ("e.js", "// exported\nlet f=1;export{f as e,g};\n"),
            ("unused.js", "export class H {}\n"),
        ];
        let script = "const modules = {};
modules[\"e.js\"] = (() => {
// exported
let f=1;
return { e: f, g };
})();
modules[\"b.js\"] = (() => {
const { e } = modules[\"e.js\"];
async function b() {}
const c = e;
return { b, c };
})();
modules[\"a.js\"] = (() => {
const { b, c: d } = modules[\"b.js\"];
const { e } = modules[\"e.js\"];
b(d, e);
return {  };
})();
";
        assert_eq!(joined(&modules, "a.js"), script);
        assert!(joined(&modules, "unused.js").ends_with("class H {}\nreturn { H };\n})();\n"));
    }
}
