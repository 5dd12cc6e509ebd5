"""The recipes' headers and the page of recipes agree with the run cards that are kept."""

import pytest

from docs import update_recipes

CARDS = update_recipes.cards()


@pytest.mark.parametrize("name", CARDS)
def test_the_header_of_a_recipe_states_what_its_card_says(name):
    recipe = (update_recipes.FLAGS / f"{name}.cfg").read_text("utf-8")
    assert update_recipes.measured(CARDS[name]) in recipe, "run: make recipes-table"


def test_the_page_of_recipes_matches_the_cards():
    page = update_recipes.PAGE.read_text("utf-8")
    assert update_recipes.updated(page) == page, "run: make recipes-table"


@pytest.mark.parametrize("name", CARDS)
def test_a_card_is_of_a_finished_run_and_has_no_local_paths(name):
    card = CARDS[name]
    assert card["status"] == "finished"
    assert card["options"]["run_dir"] == f"runs/{name}"
    assert "data_dir" not in card["options"]
    assert set(card["losses"]) == {"validation", "test", "both"}
    assert set(card["bytes_per_character"]) == {"validation", "test", "both"}
