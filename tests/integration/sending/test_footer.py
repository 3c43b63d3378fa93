"""Footer and preheader of real messages: a launch decides the language and the postal address, for every worker."""

from __future__ import annotations

from dataclasses import replace
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

from markupsafe import escape

from marketing_service.campaigns import drafts, lifecycle
from marketing_service.languages import Language
from marketing_service.rendering import SAMPLE, PostalAddresses
from marketing_service.sending.messages import Messages
from marketing_service.store.audit import Actor
from tests.support.ledger import draft

if TYPE_CHECKING:
    from marketing_service.campaigns.rules import CampaignRules
    from marketing_service.store.campaigns import Campaign
    from tests.support.world import World

OLD, NEW = PostalAddresses({"*": "Old Street 1"}), PostalAddresses({"*": "New Street 2"})


def rules(world: World, language: Language, addresses: PostalAddresses) -> CampaignRules:
    return replace(world.api.campaign_rules, default_language=language, postal_addresses=addresses)


async def saved(world: World, of: CampaignRules, **values: Any) -> Campaign:
    message = drafts.Draft(**({"name": "April", "subject": "Hello", "text_body": "Hi"} | values))
    actor = Actor(world.org_id, "someone")
    return await drafts.create(world.api.transactions, world.api.audience, of, actor=actor, draft=message)


async def launch(world: World, of: CampaignRules, campaign: Campaign) -> None:
    await lifecycle.launch(
        world.api.transactions,
        world.api.audience,
        world.api.job_queue,
        of,
        mailer=None,
        actor=Actor(world.org_id, "someone"),
        campaign_id=campaign.id,
    )


def messages(world: World, addresses: PostalAddresses) -> Messages:
    return Messages(
        world.worker.transactions, public_base_url=world.settings.public_base_url, postal_addresses=addresses
    )


async def test_a_launched_message_keeps_its_footer_when_the_settings_change(world: World) -> None:
    """The worker of this test has no postal address, and English as its default language."""
    before, after = rules(world, Language.DE, OLD), rules(world, Language.FR, NEW)
    campaign = await saved(world, before)
    async with world.working():
        await launch(world, before, campaign)
        await world.until_status(campaign.id, "SENT")
    assert len(world.relay.accepted) > 1
    for accepted in world.relay.accepted:
        text, html = message_from_bytes(accepted.content, policy=policy.default).iter_parts()
        lines = text.get_content().splitlines()
        assert lines[-2].startswith(f"Abmelden: {world.settings.public_base_url}/api/marketing/unsubscribe/")
        assert lines[-1] == "Old Street 1"
        assert "Abmelden</a><br>\nOld Street 1\n</div>" in html.get_content().replace("\r\n", "\n")
    for message in (
        await messages(world, NEW).of_launched(campaign.id),
        await messages(world, NEW).of_current_version(campaign.id),
    ):
        assert message.preview(SAMPLE).text.endswith("Abmelden: #\nOld Street 1\n")
    shown = await lifecycle.preview(
        world.api.transactions,
        world.api.audience,
        after,
        org_id=world.org_id,
        campaign_id=campaign.id,
        contact_id=None,
    )
    assert shown.text.endswith("Abmelden: #\nOld Street 1\n")


async def test_a_draft_keeps_its_language_and_has_the_postal_address_of_now(world: World) -> None:
    campaign = await saved(world, rules(world, Language.DE, OLD))
    assert campaign.content.language is Language.DE
    test_mail = await messages(world, NEW).of_current_version(campaign.id)
    assert test_mail.preview(SAMPLE).text.endswith("Abmelden: #\nNew Street 2\n")


async def test_a_named_language_and_a_copy_do_not_depend_on_the_default(world: World) -> None:
    campaign = await saved(world, rules(world, Language.DE, OLD), language=Language.ES)
    assert campaign.content.language is Language.ES
    async with world.api.transactions(world.org_id) as tx:
        copy = await drafts.duplicate(tx, Actor(world.org_id, "someone"), campaign.id)
    assert copy.content.language is Language.ES


async def test_a_campaign_of_the_release_before_has_the_english_footer_without_an_address(world: World) -> None:
    """Its row was written without the new columns."""
    async with world.working():
        campaign_id = await world.launch(text_body="Hi")
        await world.until_status(campaign_id, "SENT")
    message = await messages(world, NEW).of_launched(campaign_id)
    assert message.preview(SAMPLE).text == "Hi\n\n-- \nUnsubscribe: #\n"


async def test_a_copy_of_a_launched_campaign_has_the_postal_address_of_its_own_launch(world: World) -> None:
    campaign_id = await draft(world.owner, org_id=world.org_id, text_body="Hi", postal_address="Old Street 1")
    async with world.api.transactions(world.org_id) as tx:
        copy = await drafts.duplicate(tx, Actor(world.org_id, "someone"), campaign_id)
    assert copy.postal_address is None
    assert (await messages(world, NEW).of_current_version(copy.id)).preview(SAMPLE).text.endswith("New Street 2\n")


async def test_every_recipient_gets_the_preheader_in_the_html_only(world: World) -> None:
    campaign = await saved(world, world.api.campaign_rules, preheader="For {{ email }}", html_body="<body>Hi</body>")
    async with world.working():
        await launch(world, world.api.campaign_rules, campaign)
        await world.until_status(campaign.id, "SENT")
    assert len(world.relay.accepted) > 1
    for accepted in world.relay.accepted:
        text, html = message_from_bytes(accepted.content, policy=policy.default).iter_parts()
        assert f"\nFor {escape(accepted.recipients[0])}\n" in html.get_content().replace("\r\n", "\n")
        assert accepted.recipients[0] not in text.get_content()
