//! What is written behind the `?` of a request.

use url::form_urlencoded;

use super::refusal::Refusal;

/// Takes the parameters `known` out of a query; `None` where one is not given.
pub(super) fn parameters<const N: usize>(
    query: &str,
    known: [&'static str; N],
) -> Result<[Option<String>; N], Refusal> {
    let mut values = [const { None }; N];
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let place = known.iter().position(|known| *known == name);
        let Some(place) = place.and_then(|place| values.get_mut(place)) else {
            let message = match known.as_slice() {
                [] => "this path takes no parameters".to_owned(),
                known => format!(
                    "is not a parameter of this path, which takes {}",
                    known.join(", ")
                ),
            };
            return Err(Refusal::invalid_field(name, message));
        };
        if place.replace(value.into_owned()).is_some() {
            return Err(Refusal::invalid_field(name, "is given twice: keep one"));
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_and_checked() {
        let parsed = parameters("url=http%3A%2F%2Fh%2F%3Fa%3Db+c&x=", ["x", "url", "z"]).unwrap();
        assert_eq!(
            parsed,
            [Some(String::new()), Some("http://h/?a=b c".to_owned()), None]
        );
        assert_eq!(parameters("", ["x"]).unwrap(), [None]);
        assert!(parameters("y=1", ["x"]).is_err());
        assert!(parameters("x=1&x=2", ["x"]).is_err());
        assert!(parameters("x=1", []).is_err());
    }
}
