Feature: What was there before a reboot is there after it

  Background:
    Given the bootstrap node
    And the second version beside the first
    And the imported Solution

  @container @vm
  Scenario: All media are mounted and served again
    When the node is rebooted
    Then every medium that is an ISO is mounted again
    And every service answers again
    And every image of the medium can be pulled
    And every image of the second version can be pulled
    And every image of the Solution can be pulled

  @container
  Scenario: Salt reaches the node again
    When the node is rebooted
    Then Salt reaches the bootstrap node alone
