Feature: Back up the bootstrap node and restore it

  Background:
    Given the bootstrap node
    And a backup of it, made by backup.sh

  @container
  Scenario: The backup holds secrets, and only root can read it
    Then only root can read the backup

  @container
  Scenario: Backups do not fill the disk
    Given 6 older backups that backup.sh named, and one that the operator did
    When backup.sh is run
    Then it ends well
    And the 5 newest backups that it named are there
    And the one that the operator named is there

  @container
  Scenario: A node that is there is not overwritten
    When restore.sh is run
    Then it is refused
    And it says "/etc/metalk8s/bootstrap.yaml: is there already"

  @container
  Scenario: A host that lost what made it the node is the same node again
    Given the host lost its configuration, its keys and the data of etcd
    When restore.sh is run, and then bootstrap.sh
    Then both end well
    And the configuration and the keys are those of before
    And the data of etcd are those of the backup
    And bootstrap.sh has nothing more to change
