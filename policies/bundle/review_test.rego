package countersign_test

import data.countersign

judge(patches) := verdict if {
	verdict := countersign.review with input as asked(patches)
}

objects_for(patches, part) if {
	verdict := judge(patches)
	verdict.deny
	some reason in verdict.reasons
	contains(reason, part)
}

reviewer(id) := set("/person", {"id": id, "groups": ["release"]})

approved_by(people) := set("/reviews", [{"person": p, "verdict": "approve", "stage": 0} | some p in people])

rotation := action("rotate-key")

test_review_by_an_approver if judge([reviewer("ada")]) == {"deny": false, "reasons": []}

test_review_by_the_trigger if objects_for([reviewer("tim")], "whoever triggered a run may not review it")

test_redemption_after_approval if not judge([approved_by(["ada"])]).deny

test_redemption_of_a_pre_approval if not judge([env("staging")]).deny

test_redemption_after_approval_by_the_trigger if {
	objects_for([approved_by(["ada", "tim"])], "whoever triggered the run has approved it")
}

test_denial_by_the_trigger_is_no_approval if {
	not judge([set("/reviews", [{"person": "tim", "verdict": "deny", "stage": 0}])]).deny
}

test_owner_alone_where_data_frees_owners if not judge([reviewer("olga")]).deny

test_owner_first_where_data_says_so if objects_for([rotation, reviewer("olga")], "only after somebody who is not one")

test_owner_second_where_data_says_so if not judge([rotation, reviewer("olga"), approved_by(["ada"])]).deny

test_stranger_first_where_data_says_so if not judge([rotation, reviewer("ada")]).deny

test_redemption_with_owners_only if objects_for([rotation, approved_by(["olga"])], "only owners of deployer have approved")

test_redemption_with_an_owner_and_another if not judge([rotation, approved_by(["olga", "ada"])]).deny

test_redemption_after_the_account_lost_the_action if {
	objects_for([approved_by(["ada"]), set("/service_account/actions", [])], "may not ask for deploy")
}
