Feature: Upgrade by one minor version, and back

  Background:
    Given the bootstrap node
    And the second version beside the first

  @container
  Scenario Outline: No minor version is skipped
    When "<script> --destination-version <version>" is run from <medium>
    Then it is refused
    And it says "<reason>"

    Examples:
      | script       | medium             | version | reason                     |
      | upgrade.sh   | the second version | 2.8.0   | upgrades to 2.6.0-dev only |
      | downgrade.sh | the first version  | 2.3.0   | skips a minor version      |

  @container
  Scenario: A dry run tells what would change and changes nothing
    When the upgrade is tried with --dry-run
    Then it ends well
    And it says from which version to which
    And it says "would change: Configure the unit of etcd"
    And the services of the node are those of the first version

  @container
  Scenario: The node is upgraded
    When the node is upgraded to the second version
    Then it ends well
    And it says that the node is at the second version
    And the services of the node are those of the second version

  @container
  Scenario: The node is downgraded
    Given the upgraded node
    When the node is downgraded to the first version
    Then it ends well
    And it says that the node is at the first version
    And the services of the node are those of the first version
