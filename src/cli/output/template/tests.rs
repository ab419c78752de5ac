//! Templates against what Go's text/template answers (checked with `podman info --format` 4.3).

use serde_json::json;

use super::Template;

fn render(text: &str) -> Result<String, String> {
    let value = json!({
        "Host": {
            "Arch": "amd64", "OS": "linux", "CPUs": 2, "Load": 14.34, "Rootless": false,
            "IDMappings": {"gidmap": null}, "EventLogger": "file",
        },
        "Plugins": {"Volume": ["local"], "Log": ["k8s-file", "none"], "None": []},
        "Labels": {"a": "b", "c": "d", "com.example/x": "1"},
        "Containers": [{"Name": "web", "Ports": [80, 443]}, {"Name": "db", "Ports": []}],
        "Name": "it's <me>",
    });
    Template::parse(text)
        .and_then(|t| t.render(&value))
        .map_err(|e| e.what().to_owned())
}

#[test]
fn templates_render_as_go_renders_them() {
    for (template, want) in [
        ("", ""),
        ("plain", "plain"),
        ("{{.Host.Arch}}", "amd64"),
        ("{{.host.arch}}", "amd64"),
        ("a\\tb\\nc", "a\tb\nc"),
        ("{{json .Host.IDMappings}}", "{\"gidmap\":null}"),
        ("{{json .Plugins.Log}}", "[\"k8s-file\",\"none\"]"),
        ("{{.Plugins.Log}}", "[k8s-file none]"),
        ("{{.Labels}}", "map[a:b c:d com.example/x:1]"),
        ("{{.Labels.a}} {{.Labels.zz}}", "b <no value>"),
        (
            "{{len .Plugins.Volume}} {{len .Labels}} {{len .Host.Arch}}",
            "1 3 5",
        ),
        ("{{index .Plugins.Volume 0}}", "local"),
        ("{{index .Labels \"com.example/x\"}}", "1"),
        ("{{index .Labels `none`}}", "<no value>"),
        ("{{(index .Containers 1).Name}}", "db"),
        ("{{index .Containers 0 \"Ports\" 1}}", "443"),
        ("{{range .Plugins.Log}}{{.}},{{end}}", "k8s-file,none,"),
        ("{{range .Plugins.None}}x{{else}}empty{{end}}", "empty"),
        (
            "{{range $i, $e := .Plugins.Log}}{{$i}}={{$e}} {{end}}",
            "0=k8s-file 1=none ",
        ),
        (
            "{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}",
            "a=b;c=d;com.example/x=1;",
        ),
        (
            "{{range .Containers}}{{.Name}}:{{range .Ports}} {{.}}{{end}}\\n{{end}}",
            "web: 80 443\ndb:\n",
        ),
        (
            "{{range .Containers}}{{if eq .Name \"db\"}}{{continue}}{{end}}{{.Name}}{{end}}",
            "web",
        ),
        ("{{range .Containers}}{{.Name}}{{break}}{{end}}", "web"),
        (
            "{{range .Containers}}{{$.Name}}{{break}}{{end}}",
            "it's <me>",
        ),
        (
            "{{printf \"%q %-8s|%5d|%05d\" .Host.Arch .Host.OS .Host.CPUs 42}}",
            "\"amd64\" linux   |    2|00042",
        ),
        (
            "{{printf \"%.1f %v %t %x %T\" .Host.Load .Host.Load true 255 .Name}}",
            "14.3 14.34 true ff string",
        ),
        (
            "{{printf \"%d\" .Name}}{{printf \"%s\"}}",
            "%!d(string=it's <me>)%!s(MISSING)",
        ),
        ("{{printf \"%.3s|%%\" .Host.Arch}}", "amd|%"),
        (
            "{{.Host.EventLogger | printf \"%v %T\"}}",
            "file %!T(MISSING)",
        ),
        ("{{.Host.Arch | upper | lower | title}}", "Amd64"),
        ("{{join .Plugins.Log \"+\"}}", "k8s-file+none"),
        ("{{split .Host.Arch \"m\"}}", "[a d64]"),
        ("{{pad .Host.Arch 2 3}}|", "  amd64   |"),
        ("{{truncate .Host.Arch 2}}", "am"),
        (
            "{{slice .Host.Arch 1 2}}{{slice .Plugins.Log 1}}",
            "m[none]",
        ),
        ("{{html .Name}}", "it&#39;s &lt;me&gt;"),
        ("{{urlquery \"a b\"}}", "a+b"),
        ("{{with $x := .Host}}{{$x.Arch}}{{else}}no{{end}}", "amd64"),
        ("{{with .Plugins.None}}yes{{else}}no{{end}}", "no"),
        (
            "{{with .Plugins.None}}a{{else with .Host}}{{.OS}}{{end}}",
            "linux",
        ),
        (
            "{{if .Host.Rootless}}a{{else if gt .Host.CPUs 1}}b{{else}}c{{end}}",
            "b",
        ),
        (
            "{{if and .Host.CPUs (not .Host.Rootless)}}yes{{end}}",
            "yes",
        ),
        (
            "{{or .Host.Rootless .Host.OS}} {{and 0 1}} {{not 0}}",
            "linux 0 true",
        ),
        ("{{print 1 2 \"a\" \"b\" 3}}", "1 2ab3"),
        ("{{println 1 \"a\"}}", "1 a\n"),
        (
            "{{eq .Host.CPUs 2}} {{eq .Host.OS \"a\" \"linux\"}} {{ne 1 2}} {{le 2 2}} {{lt \"a\" \"b\"}}",
            "true true true true true",
        ),
        ("a  {{- .Host.Arch -}}  x", "aamd64x"),
        ("{{/* c */}}y{{- /* c */ -}} z", "yz"),
        (
            "{{define \"T\"}}<{{.}}>{{end}}{{template \"T\" .Host.OS}}",
            "<linux>",
        ),
        (
            "{{true}} {{1.5}} {{1e3}} {{0x10}} {{'a'}} {{\"\\u00fc\\n\"}}",
            "true 1.5 1000 16 97 ü\n",
        ),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{.}}{{break_}}", "\0"),
    ] {
        if want == "\0" {
            assert!(render(template).is_err());
            continue;
        }
        assert_eq!(render(template).as_deref(), Ok(want), "{template}");
    }
}

#[test]
fn what_does_not_fit_is_an_error_in_gos_words() {
    for (template, want) in [
        ("{{.Host.Foo}}", "at <.Host.Foo>: can't evaluate field Foo"),
        ("{{.Foo}}", "can't evaluate field Foo"),
        ("{{.Name.X}}", "can't evaluate field X in type string"),
        ("{{.Labels.zz.y}}", "nil data"),
        ("{{", "unclosed action"),
        ("{{.Host.Arch}", "bad character U+007D '}'"),
        ("{{foo .Host}}", "function \"foo\" not defined"),
        ("{{if}}", "missing value for if"),
        ("{{if .Name}}x", "unexpected EOF"),
        ("x{{end}}", "unexpected {{end}}"),
        ("{{nil}}", "nil is not a command"),
        ("{{\"abc}}", "unterminated quoted string"),
        ("{{$x}}", "undefined variable \"$x\""),
        (
            "{{if true}}{{$x := 1}}{{end}}{{$x}}",
            "undefined variable \"$x\"",
        ),
        ("{{index .Plugins.Log 5}}", "index out of range: 5"),
        ("{{lower 5}}", "expected string; got int"),
        ("{{lt 1 \"a\"}}", "incompatible types"),
        ("{{eq .Plugins.Log .Plugins.Log}}", "non-comparable"),
        ("{{join .Plugins.Log}}", "wrong number of args for join"),
        ("{{.Name | .Name}}", "is not a function"),
        ("{{.Name \"x\"}}", "can't give argument to non-function"),
        (
            "{{range .Name}}{{end}}",
            "range can't iterate over it's <me>",
        ),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{(len .Name}}", "unclosed left paren"),
        ("{{len .Name)}}", "unexpected right paren"),
        ("{{template \"none\"}}", "template \"none\" not defined"),
        (
            "{{define \"T\"}}{{template \"T\"}}{{end}}{{template \"T\"}}",
            "maximum template depth",
        ),
        (
            "{{pad .Name 99999999999 1}}",
            "expected a number from 0 to 10000",
        ),
    ] {
        let error = render(template).unwrap_err();
        assert!(error.contains(want), "{template}: {error}");
        assert!(
            error.starts_with("template: format:1: "),
            "{template}: {error}"
        );
    }
    let deep = "(".repeat(1000);
    assert!(render(&format!("{{{{{deep}")).is_err());
    let deep = "{{if true}}".repeat(1000);
    assert!(render(&deep).unwrap_err().contains("nested too deeply"));
}

#[test]
fn tables_have_headers_and_tabs_between_their_actions() {
    let t = Template::parse("table {{.ID}} {{.ImageID}}\\t{{.CreatedAt|upper}} ({{.Labels.x}})")
        .unwrap();
    assert!(t.is_table());
    assert_eq!(
        t.headers(&[("ID", "CONTAINER ID")]),
        "CONTAINER ID\tIMAGE ID\tCREATED AT (X)"
    );
    let row = json!({"ID": "1", "ImageID": "2", "CreatedAt": "now", "Labels": {}});
    assert_eq!(t.render(&row).unwrap(), "1\t2\tNOW (<no value>)");
    assert!(
        Template::parse("{{range .}}{{.}}{{end}}")
            .unwrap()
            .wants_list()
    );
    assert!(!Template::parse("{{.A}}").unwrap().wants_list());
}
