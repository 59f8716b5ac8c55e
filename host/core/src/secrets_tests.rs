use serde_json::json;

use super::*;

fn fingerprinter() -> Fingerprinter {
    Fingerprinter::new([7; 32])
}

fn is_fingerprint(value: &Value) -> bool {
    let digits = value.as_str().and_then(|text| text.strip_prefix("fp:"));
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[test]
fn fingerprints_are_hmac_sha256() {
    // From `openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…07`.
    let expected = "fp:a0ce682db4b1b641b913f31c0dcdee3d";
    let found = fingerprinter().fingerprint(b"s3cret");
    assert_eq!(found, expected);
    assert_eq!(found, fingerprinter().fingerprint(b"s3cret"));
    assert_ne!(found, fingerprinter().fingerprint(b"s3creT"));
    assert_ne!(found, Fingerprinter::new([8; 32]).fingerprint(b"s3cret"));
}

#[test]
fn a_secret_and_a_fact_with_one_password_have_one_fingerprint() {
    let mut secret = json!({"metadata": {"name": "s"}, "data": {"password": "czNjcmV0", "odd": "%%", "none": null},
                            "stringData": {"password": "s3cret"}});
    let mut fact = json!([{"uid": 1, "authentication_redis_pass": "s3cret",
                           "nested": {"key": ["s3cret", {"deep": "s3cret"}]}, "name": "s3cret"}]);
    fingerprinter().fingerprint_secret_object(&mut secret);
    fingerprinter().redact(&mut fact, &["authentication_redis_pass", "key"]);
    let password = &secret["data"]["password"];
    assert!(is_fingerprint(password));
    assert_eq!(&fact[0]["authentication_redis_pass"], password);
    assert_eq!(&fact[0]["nested"]["key"], &json!([password, {"deep": password}]));
    assert_eq!(fact[0]["name"], "s3cret");
    assert!(secret.get("stringData").is_none());
    assert!(is_fingerprint(&secret["data"]["odd"]) && is_fingerprint(&secret["data"]["none"]));
}

#[test]
fn no_copy_of_the_values_stays_in_a_secret() {
    let applied = r#"{"data":{"password":"czNjcmV0"}}"#;
    let mut secret = json!({"metadata": {"annotations": {LAST_APPLIED: applied, "kept": "yes"}}, "data": "czNjcmV0"});
    fingerprinter().fingerprint_secret_object(&mut secret);
    assert_eq!(secret, json!({"metadata": {"annotations": {"kept": "yes"}}}));
}

#[test]
fn directives_are_read_strictly() {
    let parse = |value: Value| Directive::parse(&value);
    assert_eq!(parse(json!("$generate")), Ok(None));
    assert_eq!(parse(json!({"generate": {"length": 3}})), Ok(None));
    let alphabet = ALPHANUMERIC.to_vec();
    assert_eq!(
        parse(json!({"$generate": {"length": 1024}})),
        Ok(Some(Directive::Generate(Generate { length: 1024, alphabet })))
    );
    let bad = [
        json!({"$generate": {"length": 0}}),
        json!({"$generate": {"length": 1025}}),
        json!({"$generate": {"length": "8"}}),
        json!({"$generate": {}}),
        json!({"$generate": 8}),
        json!({"$generate": {"length": 8, "charset": "ab"}}),
        json!({"$generate": {"length": 8, "alphabet": "a"}}),
        json!({"$generate": {"length": 8, "alphabet": "aa"}}),
        json!({"$generate": {"length": 8, "alphabet": "aé"}}),
        json!({"$generate": {"length": 8, "alphabet": 5}}),
        json!({"$generate": {"length": 8}, "other": 1}),
        json!({"$secretKeyRef": {"name": "a"}}),
        json!({"$secretKeyRef": {"name": "a/b", "key": "k"}}),
        json!({"$secretKeyRef": {"name": "a", "key": ""}}),
        json!({"$secretKeyRef": {"name": "a", "key": "k", "namespace": "other"}}),
        json!({"$unknown": {}}),
    ];
    for value in bad {
        assert!(matches!(parse(value.clone()), Err(SecretError::Directive { .. })), "{value}");
    }
}

#[test]
fn references_are_found_and_resolved_wherever_they_stand() {
    let body = json!({"credentials": {"password": {"$secretKeyRef": {"name": "rec", "key": "password"}}},
                      "list": [1, {"$secretKeyRef": {"name": "rec", "key": "username"}}]});
    let names: Vec<String> = collect_refs(&body).unwrap().into_iter().map(|it| it.key).collect();
    assert_eq!(names, ["password", "username"]);
    let resolved = resolve(body, &mut |directive| match directive {
        Directive::SecretKeyRef(reference) => Ok(format!("<{}>", reference.key)),
        Directive::Generate(_) => Err(SecretError::GenerateOutsideSecret),
    });
    assert_eq!(resolved.unwrap(), json!({"credentials": {"password": "<password>"}, "list": [1, "<username>"]}));
    let generate = json!({"a": {"$generate": {"length": 2}}});
    let refused = resolve(generate, &mut |_| Err(SecretError::GenerateOutsideSecret));
    assert_eq!(refused, Err(SecretError::GenerateOutsideSecret));
}

#[test]
fn an_address_is_put_together_with_a_password_that_cannot_end_its_place() {
    let word = json!({"$secretKeyRef": {"name": "redb-origin", "key": "password"}});
    let join = |encoding: Option<&str>| {
        let mut join = json!({"parts": ["redis://:", word.clone(), "@h:1"]});
        if let Some(encoding) = encoding {
            join["encoding"] = json!(encoding);
        }
        json!({"uri": {"$join": join}})
    };
    let names: Vec<String> = collect_refs(&join(Some("uri"))).unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["redb-origin"]);
    let mut fill = |_: &Directive| Ok("p@ss/wörd".to_owned());
    assert_eq!(resolve(join(Some("uri")), &mut fill).unwrap(), json!({"uri": "redis://:p%40ss%2Fw%C3%B6rd@h:1"}));
    assert_eq!(resolve(join(None), &mut fill).unwrap(), json!({"uri": "redis://:p@ss/wörd@h:1"}));
    let secret = json!({"stringData": join(Some("uri"))});
    let filled = secret_data(secret, None, &mut |_| Ok("a:b".to_owned()), &mut |_| String::new()).unwrap();
    assert_eq!(filled, json!({"data": {"uri": STANDARD.encode("redis://:a%3Ab@h:1")}}));
    for bad in [
        json!({"$join": []}),
        json!({"$join": {"parts": []}}),
        json!({"$join": {"parts": ["a", 1]}}),
        json!({"$join": {"parts": [{"$generate": {"length": 3}}]}}),
        json!({"$join": {"parts": ["a"], "encoding": "base64"}}),
        json!({"$join": {"parts": ["a"]}, "more": 1}),
    ] {
        assert_eq!(resolve(json!([bad.clone()]), &mut fill).unwrap_err().reason(), "DirectiveMalformed", "{bad}");
        assert_eq!(collect_refs(&bad).unwrap_err().reason(), "DirectiveMalformed", "{bad}");
    }
}

#[test]
fn what_was_generated_is_kept_and_the_rest_is_filled_in() {
    let desired = json!({"metadata": {"name": "s"}, "type": "Opaque", "stringData": {
        "plain": "text", "kept": {"$generate": {"length": 8}}, "emptied": {"$generate": {"length": 3, "alphabet": "xy"}},
        "new": {"$generate": {"length": 4}}, "other": {"$secretKeyRef": {"name": "from", "key": "k"}}}});
    let current = json!({"kept": "b2xk", "emptied": "", "plain": "b3RoZXI="});
    let filled = secret_data(
        desired,
        Some(&current),
        &mut |reference| Ok(format!("{}/{}", reference.name, reference.key)),
        &mut |generate| char::from(generate.alphabet()[0]).to_string().repeat(generate.length()),
    );
    assert_eq!(
        filled.unwrap(),
        json!({"metadata": {"name": "s"}, "type": "Opaque", "data": {
            "plain": "dGV4dA==", "kept": "b2xk", "emptied": "eHh4", "new": "QUFBQQ==", "other": "ZnJvbS9r"}})
    );
}

#[test]
fn a_malformed_secret_is_refused_without_showing_its_values() {
    let fill = |desired: Value| {
        let missing = |reference: &SecretKeyRef| {
            Err(SecretError::Missing { name: reference.name.clone(), key: reference.key.clone() })
        };
        secret_data(desired, None, &mut { missing }, &mut |_| String::new()).unwrap_err()
    };
    assert!(matches!(fill(json!({"data": {"a": "czNjcmV0"}})), SecretError::Shape { .. }));
    assert!(matches!(fill(json!({"stringData": ["s3cret"]})), SecretError::Shape { .. }));
    let nested = fill(json!({"stringData": {"a": {"b": "s3cret"}}}));
    assert_eq!(nested, SecretError::Value { key: "a".to_owned() });
    let missing = fill(json!({"stringData": {"a": {"$secretKeyRef": {"name": "n", "key": "k"}}}}));
    assert_eq!(missing.reason(), "SecretMissing");
    let mixed = fill(json!({"stringData": {"a": {"$generate": {"length": 3}, "value": "s3cret"}}}));
    for error in [nested, missing, mixed] {
        assert!(!format!("{error} {error:?}").contains("s3cret"));
    }
    assert_eq!(format!("{:?}", fingerprinter()), "Fingerprinter(..)");
}

#[test]
fn a_primary_names_a_secret_in_its_spec_or_by_its_own_name() {
    let spec = json!({"tls": {"secretName": "certs"}, "more": ["other", {"x": "deep"}], "text": "the word stranger"});
    for named in ["certs", "other", "deep", "mydb", "redb-mydb", "mydb-tls"] {
        assert!(is_named(named, "mydb", &spec), "{named}");
    }
    for not in ["stranger", "mydbs", "amydb", "admin", "my", ""] {
        assert!(!is_named(not, "mydb", &spec), "{not}");
    }
    assert!(!is_named("-x", "", &json!({})));
}
