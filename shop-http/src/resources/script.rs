//! The script of a page: JavaScript modules that are joined to one file.
//!
//! So a browser loads them with one request. A joined script is a sequence of functions, one for
//! each module, which run at once and store their exports in `globalThis.modules`. Modules that are
//! loaded later find the exports of the earlier ones there.

use std::collections::BTreeSet;

/// The name of a module, and its text.
pub(super) type Module = (&'static str, &'static str);

/// Joins the module `entry` and all modules that it imports, at any depth, in the order in which a
/// browser runs them.
///
/// If `loaded_script` is the entry of a script that the browser has loaded before, the modules of that
/// script are left out, and the joined script exports the names of `entry`.
///
/// The parser understands what the modules of the pages contain, and no more: imports of names on a
/// line of their own, exports in front of declarations, and a list of exports as the last thing.
pub(super) fn join_modules(modules: &[Module], entry: &str, loaded_script: Option<&str>) -> String {
    let mut appended_names = BTreeSet::new();
    if let Some(loaded_entry) = loaded_script {
        // This only collects the names of the modules, and drops their text.
        let mut dropped_text = String::new();
        append_module(
            modules,
            loaded_entry,
            &mut appended_names,
            &mut dropped_text,
        );
    }
    let mut script = "const modules = globalThis.modules ??= {};\n".to_owned();
    let exports = append_module(modules, entry, &mut appended_names, &mut script);
    if loaded_script.is_some() {
        script += &format!("export const {{ {exports} }} = modules[\"{entry}\"];\n");
    }
    script
}

/// Appends a module to `script`, after the modules that it imports.
///
/// Returns the exports of the module, as the members of an object. A module in `appended_names` is not
/// appended again.
fn append_module(
    modules: &[Module],
    name: &str,
    appended_names: &mut BTreeSet<&'static str>,
    script: &mut String,
) -> String {
    // Tests join all scripts, so no import names a module that does not exist.
    let module = modules.iter().find(|(module_name, _)| *module_name == name);
    let Some(&(name, text)) = module else {
        return String::new();
    };
    let is_new = appended_names.insert(name);
    if !is_new {
        return String::new();
    }

    let mut body = String::new();
    let mut exports = Vec::new();
    for line in code_lines(text) {
        if let Some((names, from)) = parse_import(line) {
            append_module(modules, from, appended_names, script);
            body += &format!(
                "const {{{}}} = modules[\"{from}\"];",
                names.replace(" as ", ": ")
            );
        } else if let Some(declaration) = line.strip_prefix("export ") {
            exports.push(declared_name(declaration).to_owned());
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
    exports
}

/// Returns the lines of `text` without comments and indentation, which are a third of the text.
///
/// A comment must be on lines of its own.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut is_comment = false;
    text.lines().map(str::trim_start).filter(move |line| {
        is_comment |= line.starts_with("/**");
        let is_code = !(is_comment || line.starts_with("//") || line.is_empty());
        is_comment &= !line.contains("*/");
        is_code
    })
}

/// Returns the names and the module of an import, if the line is one.
fn parse_import(line: &str) -> Option<(&str, &str)> {
    let (names, from) = line.strip_prefix("import {")?.split_once("} from \"./")?;
    Some((names, from.strip_suffix("\";")?))
}

/// Returns the name that a declaration declares: its first word that is not a keyword.
fn declared_name(declaration: &str) -> &str {
    const KEYWORDS: [&str; 5] = ["async", "function", "class", "const", "let"];
    let is_separator =
        |character: char| !character.is_alphanumeric() && character != '_' && character != '$';
    declaration
        .split(is_separator)
        .find(|word| !KEYWORDS.contains(word))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_functions_that_run_once_in_order() {
        let modules = [
            (
                "a.js",
                "import { b, c as d } from \"./b.js\";\nimport { e } from \"./e.js\";\nb(d, e);\n",
            ),
            (
                "b.js",
                "import { e } from \"./e.js\";\nexport async function b() {}\nexport const c = e;\n",
            ),
            (
                "e.js",
                "// exported\n/** Of\n * two lines. */\n\n  let f=1;export{f as e,g};\n",
            ),
            ("unused.js", "export class H {}\n"),
        ];
        let lines = |all: &[&str]| all.join("\n") + "\n";
        let script = lines(&[
            "const modules = globalThis.modules ??= {};",
            "modules[\"e.js\"] = (() => {",
            "let f=1;",
            "return { e: f, g };",
            "})();",
            "modules[\"b.js\"] = (() => {",
            "const { e } = modules[\"e.js\"];",
            "async function b() {}",
            "const c = e;",
            "return { b, c };",
            "})();",
            "modules[\"a.js\"] = (() => {",
            "const { b, c: d } = modules[\"b.js\"];",
            "const { e } = modules[\"e.js\"];",
            "b(d, e);",
            "return {  };",
            "})();",
        ]);
        assert_eq!(join_modules(&modules, "a.js", None), script);
        // Loaded after another one, it leaves out what that has.
        let later = lines(&[
            "const modules = globalThis.modules ??= {};",
            "modules[\"b.js\"] = (() => {",
            "const { e } = modules[\"e.js\"];",
            "async function b() {}",
            "const c = e;",
            "return { b, c };",
            "})();",
            "export const { b, c } = modules[\"b.js\"];",
        ]);
        assert_eq!(join_modules(&modules, "b.js", Some("e.js")), later);
    }
}
