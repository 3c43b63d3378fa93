"""Which domains an organisation may use in From."""

from marketing_service.campaigns.rules import SenderRules


def test_without_domains_every_domain_is_allowed() -> None:
    assert SenderRules().may_send_from("acme", "anything.example")


def test_one_list_applies_to_every_organisation() -> None:
    rules = SenderRules(domains={"*": ["example.org", "example.net"]})
    assert rules.may_send_from("acme", "EXAMPLE.org")
    assert rules.may_send_from("globex", "example.net")
    assert not rules.may_send_from("acme", "sub.example.org")


def test_an_organisation_with_its_own_list_does_not_use_the_common_one() -> None:
    rules = SenderRules(domains={"acme": ["acme.example"], "*": ["shared.example"]})
    assert rules.may_send_from("acme", "acme.example")
    assert not rules.may_send_from("acme", "shared.example")
    assert rules.may_send_from("globex", "shared.example")


def test_without_a_common_list_other_organisations_may_send_from_nowhere() -> None:
    assert not SenderRules(domains={"acme": ["acme.example"]}).may_send_from("globex", "acme.example")
