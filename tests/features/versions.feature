Feature: Several versions beside each other

  Background:
    Given the bootstrap node

  @container
  Scenario: A medium that somebody changed is not added
    When iso-manager.sh adds a medium with a changed file
    Then it is refused
    And it names the changed file of the medium
    And the configuration is as before

  @container @vm
  Scenario: A dry run tells what would change, and adds nothing
    When iso-manager.sh tries with --dry-run to add the second version
    Then it ends well
    And it says "would change: Configure the repositories' server"
    And the configuration is as before
    And the packages of the second version are not served

  @container @vm
  Scenario: A second version is served beside the first
    When iso-manager.sh adds the second version
    Then it ends well
    And the configuration names both, and still has the operator's own lines
    And every image of the second version can be pulled
    And every image of the medium can be pulled
    And the packages of both versions are served

  @container
  Scenario: Salt has the states of both versions
    Given the second version beside the first
    Then Salt offers the node the roles of each version
    And the states of a version are read from its own medium

  @container
  Scenario: Nothing is changed when there is nothing to do
    Given the second version beside the first
    When iso-manager.sh is run
    Then it ends well
    And nothing was changed

  @container
  Scenario: The second version is removed
    Given the second version beside the first
    When iso-manager.sh removes the second version
    Then it ends well
    And the configuration names the first version alone
    And the packages of the second version are not served

  @container
  Scenario: The version that the node is installed from stays
    When iso-manager.sh removes the medium
    Then it is refused
    And the configuration is as before
