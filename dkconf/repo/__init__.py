"""The config repository: what a reviewer and a pipeline need of an inventory that lives in git.

`checks` makes the report, `formats` writes it for a terminal or a pipeline, `against` compares with another revision,
`layout` is `dkconf fmt`, `rendered` and `markdown` compare renderings, `scaffold` is `dkconf init`. Nothing here needs
sendmail, root, a network or a secret; what would need one is reported as skipped, by name.
"""
