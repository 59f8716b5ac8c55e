//! Whether calls to the managed system that a plugin asks for are among those that an admin confirmed. Pure.

/// The patterns of `asked` that no line of `confirmed` covers, sorted, each once.
pub(super) fn not_confirmed<'a>(asked: impl Iterator<Item = &'a String>, confirmed: &[String]) -> Vec<String> {
    let mut missing: Vec<String> = asked.filter(|call| !confirmed.iter().any(|it| covers(it, call))).cloned().collect();
    missing.sort();
    missing.dedup();
    missing
}

/// Every call that `asked` matches is matched by `confirmed`, too. A `*` is one path segment.
fn covers(confirmed: &str, asked: &str) -> bool {
    let parts = |text: &str| -> Option<(String, Vec<String>)> {
        let (method, path) = text.trim().split_once(char::is_whitespace)?;
        Some((method.to_owned(), path.trim().split('/').map(str::to_owned).collect()))
    };
    let (Some((method, path)), Some((asked_method, asked_path))) = (parts(confirmed), parts(asked)) else {
        return false;
    };
    method == asked_method
        && path.len() == asked_path.len()
        && path.iter().zip(&asked_path).all(|(confirmed, asked)| confirmed == "*" || confirmed == asked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked: &[&str], confirmed: &[&str], expected: &[&str]) {
        let owned = |texts: &[&str]| texts.iter().map(|it| (*it).to_owned()).collect::<Vec<String>>();
        assert_eq!(not_confirmed(owned(asked).iter(), &owned(confirmed)), owned(expected));
    }

    #[test]
    fn what_is_asked_for_has_to_be_confirmed() {
        check(&["GET /v1/bdbs"], &[], &["GET /v1/bdbs"]);
        check(&["GET /v1/bdbs"], &["GET /v1/bdbs"], &[]);
        check(&["PUT /v1/bdbs/1", "PUT /v1/bdbs/*"], &["PUT /v1/bdbs/*"], &[]);
    }

    #[test]
    fn a_narrower_confirmation_is_none() {
        check(&["PUT /v1/bdbs/*"], &["PUT /v1/bdbs/1"], &["PUT /v1/bdbs/*"]);
        check(&["DELETE /v1/bdbs/*"], &["PUT /v1/bdbs/*"], &["DELETE /v1/bdbs/*"]);
        check(&["PUT /v1/bdbs/*/x"], &["PUT /v1/bdbs/*"], &["PUT /v1/bdbs/*/x"]);
        check(&["nonsense"], &["nonsense"], &["nonsense"]);
    }
}
