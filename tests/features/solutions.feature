Feature: Solutions

  Background:
    Given the bootstrap node

  @container
  Scenario: A Solution that somebody changed is refused
    When solutions.sh imports a Solution with a changed file
    Then it is refused
    And it names the changed file of the Solution
    And no Solution is recorded

  @container @vm
  Scenario: The images of an imported Solution can be pulled
    When solutions.sh imports the Solution
    Then it ends well
    And it says that the Solution is served
    And the Solution is recorded
    And the image of its operator is on it
    And every image of the Solution can be pulled

  @container
  Scenario Outline: What needs a cluster says that there is none
    When "solutions.sh <command>" is run
    Then it is refused
    And it says "solutions.sh: <name> needs a cluster, and there is none"

    Examples:
      | name            | command                                                                          |
      | activate        | activate --name example-solution                                                 |
      | deactivate      | deactivate --name example-solution                                               |
      | create-env      | create-env --name prod --namespace prod-1 --description text                     |
      | delete-env      | delete-env --name prod                                                           |
      | add-solution    | add-solution --name prod --solution example-solution --version 1.0.0-dev         |
      | delete-solution | delete-solution --name prod --solution example-solution                          |

  @container
  Scenario: A Solution that cannot be served does not disturb another
    Given the imported Solution
    When solutions.sh imports a Solution that nginx cannot serve
    Then it is refused
    And it says that the images of before are served again
    And what is recorded is as before
    And every image of the Solution can be pulled

  @container
  Scenario: A Solution is unimported
    Given the imported Solution
    When solutions.sh unimports the Solution
    Then it ends well
    And it says "Solutions: none"
    And no Solution is recorded
    And no image of it can be pulled
